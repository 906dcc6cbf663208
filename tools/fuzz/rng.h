// Seeded inputs for tests: the same on every machine and compiler for one seed. Put the seed in the
// name or message of the test so that a failure can be repeated. One Rng per thread.
//
//   Rng rng(17);
//   std::vector<float> x = rng.Floats(Values::kNormal, 4096);
//   std::vector<uint8_t> w = rng.Blocks(QuantType::kQ4K, 16 * rows, Values::kNormal);
#ifndef PTXSMITH_TOOLS_FUZZ_RNG_H_
#define PTXSMITH_TOOLS_FUZZ_RNG_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "ptx_templates/quant_type.h"

namespace ptxsmith {

enum class Values {
  kNormal,       // mean 0, deviation 1
  kHeavyTailed,  // normal times 2^normal*2: a few values dominate, as in real activations
  kZeros,        // mixed signs of zero
  kDenormals,    // below the smallest normal number (of f32; for block scales and f16 of f16)
  kLargest,      // near the largest finite f16, so that f16 copies stay finite
  kRandomBits,   // every bit random but for infinities, NaNs and what exceeds the largest f16
};

// For cases that are listed.
inline constexpr Values kAllValues[] = {Values::kNormal, Values::kHeavyTailed, Values::kZeros,
                                        Values::kDenormals, Values::kLargest};

// For cases that are drawn.
inline constexpr Values kFuzzValues[] = {Values::kNormal,  Values::kHeavyTailed,
                                         Values::kZeros,   Values::kDenormals,
                                         Values::kLargest, Values::kRandomBits};

const char* ToString(Values values);  // "normal"
// InvalidArgument lists the names.
absl::StatusOr<Values> ParseValues(absl::string_view name);

class Rng {
 public:
  explicit Rng(uint64_t seed) : engine_(seed) {}

  uint64_t Bits() { return engine_(); }
  uint32_t Below(uint32_t limit);  // uniform in [0, limit). REQUIRES: limit > 0.
  double Uniform();                // in [0, 1)
  double Normal();                 // standard deviation 1

  std::vector<float> Floats(Values values, size_t count);

  // `count` blocks (elements for f32, f16 and bf16) with random quants and scales drawn from
  // `values`, always finite. kNormal scales are about 2^-8, as in trained models.
  // REQUIRES: a type with a reference decoder.
  std::vector<uint8_t> Blocks(QuantType type, size_t count, Values values = Values::kNormal);

 private:
  float Float(Values values);
  uint16_t HalfScale(Values values);

  std::mt19937_64 engine_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_FUZZ_RNG_H_
