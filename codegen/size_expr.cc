#include "codegen/size_expr.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith {

SizeExpr SizeExpr::Join(Kind kind, const SizeExpr& a, const SizeExpr& b) {
  SizeExpr joined = a;
  joined.ops_.insert(joined.ops_.end(), b.ops_.begin(), b.ops_.end());
  joined.ops_.push_back({kind, 0});
  // Fold constants at once, so that baked sizes stay one operation long.
  if (std::optional<uint64_t> value = joined.constant()) return SizeExpr(*value);
  return joined;
}

std::optional<uint64_t> SizeExpr::constant() const {
  absl::StatusOr<uint64_t> value = Evaluate({});
  if (!value.ok()) return std::nullopt;
  return *value;
}

bool SizeExpr::Uses(uint32_t param) const {
  return std::any_of(ops_.begin(), ops_.end(),
                     [=](const Op& op) { return op.kind == kParam && op.value == param; });
}

absl::StatusOr<uint64_t> SizeExpr::Evaluate(absl::Span<const uint64_t> params) const {
  std::vector<uint64_t> stack;
  for (const Op& op : ops_) {
    if (op.kind == kConstant) {
      stack.push_back(op.value);
      continue;
    }
    if (op.kind == kParam) {
      if (op.value >= params.size()) {
        return absl::InvalidArgumentError(
            absl::StrCat("size expression uses parameter ", op.value, " of ", params.size()));
      }
      stack.push_back(params[op.value]);
      continue;
    }
    const uint64_t b = stack.back();
    stack.pop_back();
    uint64_t& a = stack.back();
    bool overflow = false;
    switch (op.kind) {
      case kAdd:
        overflow = __builtin_add_overflow(a, b, &a);
        break;
      case kMul:
        overflow = __builtin_mul_overflow(a, b, &a);
        break;
      default:
        if (b == 0) return absl::InvalidArgumentError("size expression divides by zero");
        a = a / b + (a % b != 0 ? 1 : 0);
        break;
    }
    if (overflow) return absl::InvalidArgumentError("size expression overflows 64 bits");
  }
  return stack.back();
}

}  // namespace ptxsmith
