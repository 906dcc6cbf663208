// One token through a llama-shaped model in one launch: embedding, all layers, logits and the
// choice of the next token. The blocks stay on their SMs and pass activations through memory; the
// weights stream through a ring (tile_ring.h) that never empties between matrices. From sm_90 on.
//
// Mathematics  as the transformer of the plain kernels: RMS norm, q/k/v with bias, RoPE, attention
// over
//              a cache of f16, SwiGLU, residuals in f32. Activations between matrices travel as f16
//              and are multiplied as 8-bit integers in `terms` terms (activation_image.h).
// Layout       tiles: the matrices as `repack` makes them, each at 128 times a number of `plan`:
//                per layer eight u32: q and k (order pairs when RoPE pairs are half a head apart),
//                v, o, gate and up (interleaved), down, flags (bit 0: v has type v_more, bit 1:
//                down has down_more), 0, 0; after the last layer the output matrix and seven more.
//              norms: [2 layers + 1][width], attention and feed-forward of each layer, then output;
//              biases: [layers][q, k, v] in the order of the tiles' rows; rates: RopeRates();
//              kv: per layer keys, then values, in the layout of kv_cache.h, each part padded to
//              256 bytes; exchange: DecodeExchangeWords(spec) u32, all ones but the first, 0, at
//              first.
// Geometry     one block per SM (`ctas`): `warps` that compute, one that fills the ring, one for
// sums of
//              squares. A block owns a range of rows of every matrix. Attention: a block takes
//              the query heads of one key head, eight at most, and, once there are more than
//              `split` positions, a part of the positions; all of these blocks join the parts, each
//              some elements. Keys and values come through the ring like weights.
// Exchange     Nobody counts or fences: every word of the exchange is all ones until its one writer
//              stores it, which no number that is stored can be, and a reader polls the words it
//              needs. There are two copies, used in turn; each launch wipes the other one. A store
//              and a fence took 1.9 us under streaming, and release/acquire counters threw away
//              what the ring had won (41.0 against 33.0 us a layer of an 8B model, H200,
//              2026-11-20).
// Traffic      every byte of the tiles once; the keys and values of the positions so far once for
//              every block of query heads of a key head.
// Numerics     exact integers and f32 in a fixed order: two runs give the same bits. What travels
//              as f16 is multiplied by a power of two before and divided by it after: inputs of
//              norms by about 1/16 of the last norm's 1 / rms, so that they reach 65504 only when
//              the rms grows sqrt(width) weight / 10^6 times at once; hidden activations by 1/16,
//              which leaves them 10^6. What is larger becomes that, and so does NaN. (Without, an
//              input of 10^5 lost 4 to 11 % of the largest logit of a random model.) Scores of the
//              attention are sums of tensor cores, in which devices differ.
// Limits       widths multiples of 256, rows of 16; head_dim 64 or 128; the rows of width that a
// block
//              owns fit its threads; cooperative launch: all blocks run at once.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_DECODE_TOKEN_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_DECODE_TOKEN_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/decoder.h"
#include "ptx_templates/rope.h"
#include "ptx_templates/tiles/tile_format.h"

namespace ptxsmith {

struct DecodeTokenSpec {
  uint32_t width = 256;
  uint32_t ff = 768;
  uint32_t heads = 4;
  uint32_t kv_heads = 2;
  uint32_t head_dim = 64;
  uint32_t layers = 2;
  uint32_t vocab = 512;
  uint32_t context = 512;
  float eps = 1e-5f;
  RopePairing pairing = RopePairing::kAdjacent;
  bool bias = false;
  QuantType embedding = QuantType::kQ4K;
  QuantType qk = QuantType::kQ4K;
  QuantType v = QuantType::kQ4K;
  QuantType v_more = QuantType::kQ6K;
  QuantType o = QuantType::kQ4K;
  QuantType gate_up = QuantType::kQ4K;
  QuantType down = QuantType::kQ4K;
  QuantType down_more = QuantType::kQ6K;
  QuantType output = QuantType::kQ6K;
  bool pick = true;
  uint32_t ring = 64;
  uint32_t ctas = 132;
  uint32_t warps = 14;
  uint32_t in_flight = 4;
  uint32_t slots = 16;
  uint32_t terms = 2;
  uint32_t split = 256;

  static constexpr absl::string_view kFamily = "decode_token";
  static constexpr absl::string_view kSummary = "one token through a whole model in one launch";
  static constexpr auto kFields = Fields(
      Field("width", &DecodeTokenSpec::width, AtLeast(256, 256), "of the residual stream"),
      Field("ff", &DecodeTokenSpec::ff, AtLeast(256, 256), "width of the feed-forward part"),
      Field("heads", &DecodeTokenSpec::heads, AtLeast(1), "query heads"),
      Field("kv_heads", &DecodeTokenSpec::kv_heads, AtLeast(1), "key heads"),
      Field("head_dim", &DecodeTokenSpec::head_dim, OneOf(64, 128), "elements of a head"),
      Field("layers", &DecodeTokenSpec::layers, AtLeast(1), "layers"),
      Field("vocab", &DecodeTokenSpec::vocab, AtLeast(1), "tokens"),
      Field("context", &DecodeTokenSpec::context, AtLeast(1), "positions of the cache"),
      Field("eps", &DecodeTokenSpec::eps, {}, "of the norms"),
      Field("pairing", &DecodeTokenSpec::pairing,
            OneOf(RopePairing::kAdjacent, RopePairing::kHalfSplit),
            "elements that rotate together"),
      Field("bias", &DecodeTokenSpec::bias, {}, "of q, k and v"),
      Field("embedding", &DecodeTokenSpec::embedding, kQuantRule, "type of the embedding"),
      Field("qk", &DecodeTokenSpec::qk, kTileQuantRule, "type of q and k"),
      Field("v", &DecodeTokenSpec::v, kTileQuantRule, "type of v"),
      Field("v_more", &DecodeTokenSpec::v_more, kTileQuantRule, "of v in flagged layers"),
      Field("o", &DecodeTokenSpec::o, kTileQuantRule, "type of the attention's output"),
      Field("gate_up", &DecodeTokenSpec::gate_up, kTileQuantRule, "type of gate and up"),
      Field("down", &DecodeTokenSpec::down, kTileQuantRule, "type of down"),
      Field("down_more", &DecodeTokenSpec::down_more, kTileQuantRule, "of down in flagged layers"),
      Field("output", &DecodeTokenSpec::output, kTileQuantRule, "type of the output matrix"),
      Field("pick", &DecodeTokenSpec::pick, {}, "choose the likeliest token and advance to it"),
      Field("ring", &DecodeTokenSpec::ring, AtLeast(1), "choices that the log holds"),
      Field("ctas", &DecodeTokenSpec::ctas, Between(1, 1024), "blocks, one per SM"),
      Field("warps", &DecodeTokenSpec::warps, Between(1, 30), "warps that compute"),
      Field("in_flight", &DecodeTokenSpec::in_flight, Between(1, 15), "chunks asked for ahead"),
      Field("slots", &DecodeTokenSpec::slots, OneOf(12, 16), "chunks that the ring holds"),
      Field("terms", &DecodeTokenSpec::terms, OneOf(1, 2), "8-bit terms of an activation"),
      Field("split", &DecodeTokenSpec::split, AtLeast(1), "positions before they are divided"));
};

// What lies where in the exchange, counted in words from the start of a copy.
struct DecodeExchange {
  explicit DecodeExchange(const DecodeTokenSpec& spec);

  // Of a layer; the one after the last holds what the output matrix reads.
  uint32_t x = 0;         // f16 [width]: input of q, k, v, not yet divided by the root mean square
  uint32_t qkv = 0;       // f32 [(heads + 2 kv_heads) head_dim], rotated
  uint32_t attended = 0;  // f16 [heads head_dim]
  uint32_t x_ff = 0;      // f16 [width]
  uint32_t hidden = 0;    // f16 [ff]
  uint32_t squares = 0;   // f32 [width / 16]: sums of squares of 16 rows, of x
  uint32_t squares_ff = 0;
  uint32_t layer = 0;  // words of a layer
  // After all layers.
  uint32_t embedding = 0;  // f32 [width]
  uint32_t best = 0;       // [ctas] largest logit and its index
  uint32_t copy = 0;       // words of a copy

  // Of attention in parts, wiped by the one who reads it: f32 [layers][max_splits]
  // [heads head_dim / 64][68], 64 elements, then maximum and sum of their head.
  uint32_t max_splits = 1;
  uint32_t layer_partials = 0;
};

// Parts of the exchange lie at multiples of this.
inline constexpr uint32_t kExchangeUnit = 32;  // words
// 32 words with the turn first, then the two copies, then the partial results of attention.
inline constexpr uint32_t kExchangeHeader = 32;
inline uint64_t DecodeExchangeWords(const DecodeTokenSpec& spec) {
  const DecodeExchange at(spec);
  return kExchangeHeader + 2 * uint64_t{at.copy} + uint64_t{spec.layers} * at.layer_partials;
}
inline constexpr uint32_t kPartialElements = 64;
inline constexpr uint32_t kPartialWords = kPartialElements + 4;
// Query heads that a block takes at a time.
uint32_t DecodeHeadGroup(const DecodeTokenSpec& spec);
// Bytes from the keys of a layer to its values, and from these to the next keys.
inline uint64_t DecodeKvPartBytes(const DecodeTokenSpec& spec) {
  return (uint64_t{spec.kv_heads} * spec.context * spec.head_dim * 2 + 255) / 256 * 256;
}

// Of the range of f16, for what is not known before it is rounded.
inline constexpr float kExchangeHeadroom = 1.0f / 16;

inline constexpr uint32_t kPlanWords = 8;   // per layer
inline constexpr uint32_t kPlanUnit = 128;  // bytes
inline constexpr uint32_t kPlanFlags = 5;   // the word of a layer's flags:
inline constexpr uint32_t kPlanMoreV = 1;
inline constexpr uint32_t kPlanMoreDown = 2;

// Arguments: tokens, positions (in, in out with pick), logits (out), exchange, kv (in out), tiles,
// plan, norms, biases when there are any, rates, embedding (in); with pick steps, log (in out),
// picked (out) as in `advance`. InvalidArgument when fields do not fit each other.
absl::StatusOr<KernelSpec> BuildDecodeToken(const DecodeTokenSpec& spec, const Target& target);

std::vector<DecodeTokenSpec> DecodeTokenVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_DECODE_TOKEN_H_
