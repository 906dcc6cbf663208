#include "tools/fuzz/fuzz_family.h"

#include <algorithm>

namespace ptxsmith::fuzz_internal {
namespace {

// Where tiles, warps, blocks and vectors begin and end, and some primes; small ones first.
constexpr uint32_t kEdges[] = {1,   2,   3,   4,   5,   7,   8,    9,    15,  16,
                               17,  31,  32,  33,  61,  63,  64,   65,   80,  96,
                               127, 128, 129, 255, 256, 257, 1009, 1024, 4097};

}  // namespace

uint32_t DrawNumber(const FieldRule& rule, Rng& rng) {
  if (rule.choice_count > 0) return rule.choices[rng.Below(rule.choice_count)];
  if (rule.min == 0 && rng.Below(2) == 0) return 0;
  // The lesser of two draws: small cases find most mistakes and cost least.
  const auto edge = [&] {
    const uint32_t i = rng.Below(std::size(kEdges)), j = rng.Below(std::size(kEdges));
    return uint64_t{kEdges[std::min(i, j)]} * rule.multiple_of;
  };
  uint64_t value = edge();
  while (value < rule.min || value > rule.max) value = edge();
  return static_cast<uint32_t>(value);
}

std::vector<uint32_t> LesserNumbers(const FieldRule& rule, uint32_t value) {
  const uint32_t step = rule.multiple_of;
  uint32_t least = rule.min;
  RoundUp(least, step);
  std::vector<uint32_t> result;
  for (uint32_t number : {least, value / 2 / step * step, value - std::min(value, step)}) {
    if (number < least || number >= value) continue;
    if (result.empty() || number > result.back()) result.push_back(number);
  }
  return result;
}

}  // namespace ptxsmith::fuzz_internal
