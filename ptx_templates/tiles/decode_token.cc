#include "ptx_templates/tiles/decode_token.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ptx_templates/tiles/decode_kernel.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kMaxSplits = 16;
// Heads of a block: columns of the tensor cores' tile; and what is best. With six, each FFMA of the
// values' sums waits for the others of its warp, while half of the device has nothing to do.
constexpr uint32_t kMaxGroup = 8;
constexpr uint32_t kBestGroup = 4;

uint32_t Aligned(uint32_t words) {
  return (words + kExchangeUnit - 1) / kExchangeUnit * kExchangeUnit;
}

absl::Status Check(const DecodeTokenSpec& spec) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  const auto refuse = [](const auto&... text) {
    return absl::InvalidArgumentError(absl::StrCat("decode_token: ", text...));
  };
  if (spec.heads % spec.kv_heads != 0) {
    return refuse("heads=", spec.heads, " is not a multiple of kv_heads=", spec.kv_heads);
  }
  if (spec.heads * spec.head_dim % kTileColumns != 0) {
    return refuse("heads * head_dim = ", spec.heads * spec.head_dim, " is not a multiple of 256");
  }
  const uint32_t groups = spec.heads / DecodeHeadGroup(spec);
  if (groups > spec.ctas) {
    return refuse("ctas=", spec.ctas, " is less than the ", groups, " groups of heads");
  }
  // The residual of a row stays with one thread.
  const uint32_t tiles = MostRowTiles(spec.ctas, spec.width / kTileRows);
  const uint32_t most = std::min(kMaxRowTiles, spec.warps * kWarpLanes / kTileRows);
  if (tiles > most) {
    return refuse("width=", spec.width, " over ctas=", spec.ctas, " is ", tiles,
                  " tiles of rows a block; warps=", spec.warps, " have room for ", most);
  }
  return CheckK(DecodeTokenSpec::kFamily, spec.embedding, spec.width);
}

}  // namespace

uint32_t DecodeHeadGroup(const DecodeTokenSpec& spec) {
  const uint32_t heads = spec.heads / spec.kv_heads;
  const auto divisor_up_to = [&](uint32_t most) {
    uint32_t group = std::min(heads, most);
    while (heads % group != 0) --group;
    return group;
  };
  const uint32_t group = divisor_up_to(kBestGroup);
  return group > 1 ? group : divisor_up_to(kMaxGroup);
}

DecodeExchange::DecodeExchange(const DecodeTokenSpec& spec) {
  const uint32_t q = spec.heads * spec.head_dim;
  const uint32_t kv = spec.kv_heads * spec.head_dim;
  max_splits = std::clamp(spec.ctas / (spec.heads / DecodeHeadGroup(spec)), 1u, kMaxSplits);
  layer_partials = max_splits * (q / kPartialElements) * kPartialWords;
  uint32_t next = 0;
  const auto place = [&](uint32_t words) {
    const uint32_t at = next;
    next += Aligned(words);
    return at;
  };
  x = place(spec.width / 2);
  qkv = place(q + 2 * kv);
  attended = place(q / 2);
  x_ff = place(spec.width / 2);
  hidden = place(spec.ff / 2);
  squares = place(spec.width / kTileRows);
  squares_ff = place(spec.width / kTileRows);
  layer = next;
  next = (spec.layers + 1) * layer;
  embedding = place(spec.width);
  best = place(2 * spec.ctas);
  copy = next;
}

absl::StatusOr<KernelSpec> BuildDecodeToken(const DecodeTokenSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(Check(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckTileTarget(DecodeTokenSpec::kFamily, target));
  KernelBuilder k(KeyOf(spec, target), DecodeTokenSpec::kFamily, target);
  // One warp fills the ring, one adds up squares.
  k.Launch({.block = {(spec.warps + 2) * kWarpLanes, 1, 1},
            .grid = {spec.ctas, 1, 1},
            .min_blocks_per_sm = 1,
            .cooperative = true});
  DecodeKernel kernel(k, spec);
  kernel.Record();
  return std::move(k).Finish();
}

std::vector<DecodeTokenSpec> DecodeTokenVariants() {
  const DecodeTokenSpec small = {.ctas = 5, .warps = 8, .in_flight = 2};
  DecodeTokenSpec biased = small;
  biased.pairing = RopePairing::kHalfSplit;
  biased.bias = true;
  biased.heads = 12;
  biased.kv_heads = 4;
  biased.split = 4;
  biased.ctas = 8;
  biased.pick = false;
  DecodeTokenSpec wide = small;
  wide.head_dim = 128;
  wide.heads = 2;
  wide.kv_heads = 1;
  wide.layers = 1;
  wide.ff = 1536;  // more blocks than warps
  wide.warps = 5;
  wide.vocab = 1000;
  wide.terms = 1;
  wide.embedding = QuantType::kQ8_0;
  wide.qk = wide.v = wide.v_more = wide.o = QuantType::kQ8_0;
  wide.split = 3;
  wide.ctas = 5;
  return {small, biased, wide};
}

}  // namespace ptxsmith
