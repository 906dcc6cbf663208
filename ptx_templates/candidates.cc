#include "ptx_templates/candidates.h"

#include <algorithm>

#include "ptx_templates/blocked_half.h"
#include "ptx_templates/gemv_q8_1.h"

namespace ptxsmith {
namespace {

// Tokens. Beyond, gemm: a guess, a tuner measures. Nor is gemv a candidate then: with a sum for
// each token ptxas 13.0 spills (sm_75 up to 32 bytes of 12 types at 32 tokens, sm_120 8 at 16).
constexpr uint32_t kLargestGemv = 8;
constexpr uint32_t kWarpsToFill = 2048;  // 16 for each of the 132 SMs of an H200
constexpr uint32_t kWarpsPerBlock = 16;  // at most; more leave few registers to each

bool Fits(const GemvProblem& p) {
  return p.k > 0 && p.n > 0 && p.m > 0 && p.k % DecoderFor(p.quant).chunk_weights == 0;
}

uint32_t Units(const GemvProblem& p) { return (p.k + kUnitWeights - 1) / kUnitWeights; }

// Warps of one output: no more than units, and no more than it takes to fill the GPU.
uint32_t DefaultWarpsPerOutput(const GemvProblem& p) {
  uint32_t warps = 1;
  while (warps < 8 && 2 * warps <= Units(p) && uint64_t{p.n} * warps < kWarpsToFill) warps *= 2;
  return warps;
}

// Loads of up to four units in flight, as long as a warp has them; many tokens fill the registers.
uint32_t DefaultUnroll(const GemvProblem& p, uint32_t warps_per_output) {
  uint32_t unroll = 1;
  while (unroll < 4 && p.m <= 2 && 2 * unroll * warps_per_output <= Units(p)) unroll *= 2;
  return unroll;
}

// Calls add(spec) for the shapes of blocks that a warp's share of the row allows, the default
// first.
template <class Spec, class F>
void ForEachShape(const GemvProblem& p, Spec spec, F&& add) {
  add(spec);
  const Spec first = spec;
  for (const uint32_t warps : {1u, 2u, 4u, 8u}) {
    for (const uint32_t outputs : {1u, 2u, 4u, 8u}) {
      if (warps > Units(p) || warps * outputs > kWarpsPerBlock || warps * outputs < 2) continue;
      spec.warps_per_output = warps;
      spec.outputs_per_block = outputs;
      spec.unroll = DefaultUnroll(p, warps);
      const bool is_first = warps == first.warps_per_output && outputs == first.outputs_per_block;
      if (!is_first) add(spec);
    }
  }
}

}  // namespace

GemvSpec DefaultGemvSpec(const GemvProblem& p) {
  GemvSpec spec{p.quant, p.k, p.n};
  spec.m = p.m;
  spec.warps_per_output = DefaultWarpsPerOutput(p);
  spec.unroll = DefaultUnroll(p, spec.warps_per_output);
  spec.outputs_per_block = std::max(1u, 4 / spec.warps_per_output);
  return spec;
}

GemmSpec DefaultGemmSpec(const GemvProblem& p) {
  GemmSpec spec{p.quant, p.k, p.n, std::nullopt};
  while (spec.tokens > 8 && spec.tokens / 2 >= p.m) spec.tokens /= 2;
  return spec;
}

GemmHalfSpec DefaultGemmHalfSpec(uint32_t k, uint32_t n, uint32_t m, const Target& target) {
  constexpr uint32_t kBlocks = 128;
  GemmHalfSpec spec{k, n, std::nullopt};
  spec.depth = k % 64 == 0 && target.sm >= 80 ? 64 : 32;
  const auto blocks = [&](uint32_t token_warps, uint32_t row_warps) {
    return ((m - 1) / (64 * token_warps) + 1) * uint64_t{(n - 1) / (64 * row_warps) + 1};
  };
  spec.token_warps = spec.row_warps = 1;
  for (const uint32_t token_warps : {2u, 1u}) {
    if (blocks(token_warps, 2) < kBlocks) continue;
    spec.token_warps = token_warps;
    spec.row_warps = 2;
    break;
  }
  // Two blocks on an SM hide each other's barriers better than more stages do: see gemm_half.h.
  const uint32_t stage = 128 * (spec.token_warps + spec.row_warps) * (spec.depth + 8);
  spec.stages = spec.depth == 64 ? 2 : std::clamp(target.limits().max_shared / stage, 2u, 4u);
  return spec;
}

GemmBlockedSpec DefaultGemmBlockedSpec(uint32_t k, uint32_t n, uint32_t m, uint32_t blocks,
                                       bool glu) {
  // Share of its best rate that a tile reaches when there are enough of them (gemm_blocked.h); of
  // the last two rows by the bytes they bring for a product.
  struct Tile {
    uint32_t tokens, rows;
    double rate;
  };
  constexpr Tile kTiles[] = {{128, 256, 1.0}, {128, 128, 0.94}, {64, 256, 0.9},
                             {128, 64, 0.7},  {64, 128, 0.7},   {64, 64, 0.5}};
  constexpr uint32_t kStageBytes = 200 * 1024;
  constexpr uint32_t kMostStages = 8;
  const auto count = [](uint32_t size, uint32_t tile) { return uint64_t{(size - 1) / tile + 1}; };
  GemmBlockedSpec best;
  double least = 0;
  for (const Tile& tile : kTiles) {
    if (glu && (tile.rows < kBlockRows || n % tile.rows != 0)) continue;
    const uint64_t rounds = (count(m, tile.tokens) * count(n, tile.rows) - 1) / blocks + 1;
    const double time = static_cast<double>(rounds * tile.tokens * tile.rows) / tile.rate;
    if (least != 0 && time >= least) continue;
    least = time;
    best.tokens = tile.tokens, best.rows = tile.rows;
  }
  best.k = k, best.n = n;
  best.glu = glu;
  best.blocks = blocks;
  best.stages = std::min(kMostStages, kStageBytes / (128 * (best.tokens + best.rows)));
  return best;
}

std::vector<std::string> GemvCandidates(const GemvProblem& problem, const Target& target) {
  std::vector<std::string> keys;
  if (!Fits(problem)) return keys;
  const GemvSpec gemv = DefaultGemvSpec(problem);
  if (problem.m <= kLargestGemv) {
    ForEachShape(problem, gemv, [&](GemvSpec spec) {
      keys.push_back(KeyOf(spec, target));
      // All activations in shared memory where they fit beside other blocks: in the static limit.
      spec.stage = (Units(problem) + spec.warps_per_output - 1) / spec.warps_per_output *
                   spec.warps_per_output * kUnitWeights;
      const uint64_t bytes = uint64_t{4} * spec.m * (spec.stage + 32 * kWarpsPerBlock);
      const bool shared = spec.outputs_per_block > 1 && bytes <= target.limits().static_shared;
      if (shared) keys.push_back(KeyOf(spec, target));
    });
  }
  if (problem.m <= kMaxGemvTokens && DecoderFor(problem.quant).packed != nullptr) {
    GemvQ8_1Spec spec{problem.quant, problem.k, problem.n};
    spec.m = problem.m;
    spec.warps_per_output = gemv.warps_per_output;
    spec.outputs_per_block = gemv.outputs_per_block;
    spec.unroll = gemv.unroll;
    ForEachShape(problem, spec, [&](const GemvQ8_1Spec& s) { keys.push_back(KeyOf(s, target)); });
  }
  if (problem.m > 1) {
    const GemmSpec start = DefaultGemmSpec(problem);
    keys.push_back(KeyOf(start, target));
    for (const uint32_t tokens : {8u, 16u, 32u, 64u}) {
      for (const uint32_t warps : {1u, 2u, 4u, 8u}) {
        GemmSpec spec = start;
        spec.tokens = tokens;
        spec.warps = warps;
        const bool is_start = tokens == start.tokens && warps == start.warps;
        const bool idle = tokens > 8 && tokens / 2 >= problem.m;  // half of the tile or more
        if (!is_start && !idle) keys.push_back(KeyOf(spec, target));
      }
    }
  }
  return keys;
}

std::string DefaultGemv(const GemvProblem& problem, const Target& target) {
  if (!Fits(problem)) return "";
  return problem.m <= kLargestGemv ? KeyOf(DefaultGemvSpec(problem), target)
                                   : KeyOf(DefaultGemmSpec(problem), target);
}

}  // namespace ptxsmith
