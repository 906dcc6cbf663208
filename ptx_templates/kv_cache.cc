#include "ptx_templates/kv_cache.h"

#include "absl/strings/str_cat.h"

namespace ptxsmith {

absl::Status CheckKvCell(absl::string_view family, QuantType type, uint32_t head_dim) {
  if (type == QuantType::kF16 || head_dim % kQ8_0Weights == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(family, ": head_dim=", head_dim,
                                                 " is not a multiple of ", kQ8_0Weights,
                                                 ", the block of ", ToString(type)));
}

}  // namespace ptxsmith
