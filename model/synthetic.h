// Models of the shape of well-known ones without their weights: everything that depends on shapes
// and types alone (kernels, their compilation, speed) can be had without a file. Used by the bench
// commands.
//
//   PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, SyntheticModel("llama3-8b:q4_k_m"));
//   PTXSMITH_ASSIGN_OR_RETURN(auto kernels, KernelsOf(file, device->profile(), {}));
//
// A pure function. There is no tokenizer.
#ifndef PTXSMITH_MODEL_SYNTHETIC_H_
#define PTXSMITH_MODEL_SYNTHETIC_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/gguf.h"

namespace ptxsmith {

enum class SyntheticWeights {
  kZero,    // take no memory
  kRandom,  // as large as those of real models, every bit in use, so that nothing runs cooler
};

// "llama3-8b:q4_k_m": a shape and a mix of types as llama.cpp quantizes it. InvalidArgument names
// what is known; ResourceExhausted when there are no addresses for so much memory.
absl::StatusOr<GgufFile> SyntheticModel(absl::string_view name,
                                        SyntheticWeights weights = SyntheticWeights::kZero);

// The same as the bytes of a GGUF file, whose vocabulary llama.cpp takes for none.
struct SyntheticBytes {
  absl::Span<const uint8_t> bytes;
  std::shared_ptr<const void> owner;  // of the bytes
};
absl::StatusOr<SyntheticBytes> SyntheticModelBytes(absl::string_view name,
                                                   SyntheticWeights weights);

// Names that SyntheticModel knows.
std::vector<std::string> SyntheticModelNames();

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_SYNTHETIC_H_
