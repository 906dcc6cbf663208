// A whole small model in one launch, against the reference forward pass. Its rounding of
// activations cannot be bounded usefully through several layers: the logits are compared as
// vectors.
#include "ptx_templates/tiles/decode_token.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/decode.h"
#include "tools/fuzz/reference/float_formats.h"
#include "tools/fuzz/reference/forward.h"
#include "tools/fuzz/reference/tiles.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

// ||got - want|| / ||want||, of models of two layers.
constexpr double kTolerance[] = {0.1, 4e-3};  // by terms - 1

constexpr double kRopeBase = 10000.0;

// Where the factors of a block of a tiled type lie, and the power of two by which random ones make
// weights larger than those of a model, about 1/16: activations would leave f16.
struct Factors {
  std::vector<uint32_t> offsets;
  int excess = 0;
};

Factors FactorsOf(QuantType type) {
  switch (type) {
    case QuantType::kQ4_0:
      return {{0}, 6};
    case QuantType::kQ8_0:
      return {{0}, 10};
    case QuantType::kQ4K:
      return {{0, 2}, 12};
    case QuantType::kQ5K:
      return {{0, 2}, 13};
    case QuantType::kQ6K:
      return {{208}, 14};
    default:
      return {};
  }
}

// A model with random weights, for the reference and for the kernel.
class RandomModel {
 public:
  RandomModel(const DecodeTokenSpec& spec, uint64_t seed)
      : spec_(spec),
        rng_(seed),
        q_(spec.heads * spec.head_dim),
        kv_(spec.kv_heads * spec.head_dim) {
    reference_.attention = {spec.heads, spec.kv_heads, spec.head_dim,
                            1.0 / std::sqrt(double(spec.head_dim))};
    const bool adjacent = spec.pairing == RopePairing::kAdjacent;
    reference_.rope_pairs =
        adjacent ? reference::RopePairs::kAdjacent : reference::RopePairs::kHalfSplit;
    reference_.rope_base = kRopeBase;
    reference_.rope_dims = spec.head_dim;
    reference_.eps = spec.eps;
    embedding = RandomMatrix(spec.embedding, spec.vocab, spec.width);
    reference_.token_embedding = reference::Decode(spec.embedding, embedding);
    for (uint32_t i = 0; i < spec.layers; ++i) AddLayer(i);
    reference_.output_norm.weight = AddNorm();
    plan.push_back(Place());
    plan.resize(plan.size() + kPlanWords - 1);
    AddMatrix(spec.output, spec.vocab, spec.width, reference_.output.weight);
  }

  const reference::Model& reference() const { return reference_; }

  Bytes embedding, tiles;
  std::vector<uint32_t> plan;
  std::vector<float> norms, biases;

 private:
  Bytes Random(QuantType type, uint32_t rows, uint32_t k) {
    return rng_.Blocks(type, size_t{k} / Info(type).block_weights * rows, Values::kNormal);
  }
  Bytes RandomMatrix(QuantType type, uint32_t rows, uint32_t k) {
    Bytes w = Random(type, rows, k);
    const Factors factors = FactorsOf(type);
    const size_t block = w.size() / (size_t{rows} * k / Info(type).block_weights);
    for (size_t at = 0; at < w.size(); at += block) {
      for (const uint32_t offset : factors.offsets) {
        uint8_t* const half = &w[at + offset];
        const auto bits = static_cast<uint16_t>(half[0] | half[1] << 8);
        const uint16_t smaller =
            reference::FloatToHalf(std::ldexp(reference::HalfToFloat(bits), -factors.excess));
        half[0] = static_cast<uint8_t>(smaller);
        half[1] = static_cast<uint8_t>(smaller >> 8);
      }
    }
    return w;
  }
  uint32_t Place() const { return static_cast<uint32_t>(tiles.size() / kPlanUnit); }
  std::vector<float> AddNorm() {
    std::vector<float> norm = rng_.Floats(Values::kNormal, spec_.width);
    for (float& w : norm) w = 1.0f + 0.1f * w;
    norms.insert(norms.end(), norm.begin(), norm.end());
    return norm;
  }
  std::vector<float> Bias(uint32_t rows, bool pairs) {
    if (!spec_.bias) return {};
    const std::vector<float> bias = rng_.Floats(Values::kNormal, rows);
    for (uint32_t r = 0; r < rows; ++r) biases.push_back(bias[pairs ? RowOf(r) : r]);
    return bias;
  }
  // The row of q or k that is row r of the tiles.
  uint32_t RowOf(uint32_t r) const {
    if (spec_.pairing == RopePairing::kAdjacent) return r;
    const uint32_t in_head = r % spec_.head_dim;
    return r - in_head + in_head / 2 + in_head % 2 * (spec_.head_dim / 2);
  }
  void AddTiles(QuantType type, const Bytes& w, uint32_t rows, uint32_t k,
                const std::function<uint32_t(uint32_t)>& row_of) {
    const Bytes packed = reference::Repack({type, w, rows}, k, rows, row_of);
    tiles.insert(tiles.end(), packed.begin(), packed.end());
  }
  void AddMatrix(QuantType type, uint32_t rows, uint32_t k, reference::Weights& decoded,
                 bool pairs = false) {
    const Bytes w = RandomMatrix(type, rows, k);
    decoded = reference::Decode(type, w);
    AddTiles(type, w, rows, k, [&](uint32_t r) { return pairs ? RowOf(r) : r; });
  }

  void AddLayer(uint32_t index) {
    reference::Model::Layer layer;
    const uint32_t flags = (index + 1) % 4;  // in two layers both types of v and of down
    layer.attn_norm.weight = AddNorm();
    layer.q.bias = Bias(q_, true);
    layer.k.bias = Bias(kv_, true);
    layer.v.bias = Bias(kv_, false);
    std::vector<uint32_t> places = {Place()};
    AddMatrix(spec_.qk, q_, spec_.width, layer.q.weight, true);
    AddMatrix(spec_.qk, kv_, spec_.width, layer.k.weight, true);
    places.push_back(Place());
    AddMatrix((flags & 1) != 0 ? spec_.v_more : spec_.v, kv_, spec_.width, layer.v.weight);
    places.push_back(Place());
    AddMatrix(spec_.o, spec_.width, q_, layer.attn_output.weight);
    layer.ffn_norm.weight = AddNorm();
    places.push_back(Place());
    const Bytes both = RandomMatrix(spec_.gate_up, 2 * spec_.ff, spec_.width);
    const reference::Weights decoded = reference::Decode(spec_.gate_up, both);
    const auto half = decoded.begin() + static_cast<std::ptrdiff_t>(decoded.size() / 2);
    layer.gate.weight.assign(decoded.begin(), half);
    layer.up.weight.assign(half, decoded.end());
    AddTiles(spec_.gate_up, both, 2 * spec_.ff, spec_.width,
             [&](uint32_t r) { return r / 16 * 8 + r % 8 + (r % 16 >= 8 ? spec_.ff : 0); });
    places.push_back(Place());
    AddMatrix((flags & 2) != 0 ? spec_.down_more : spec_.down, spec_.width, spec_.ff,
              layer.down.weight);
    places.push_back(flags);
    places.resize(kPlanWords);
    plan.insert(plan.end(), places.begin(), places.end());
    reference_.layers.push_back(std::move(layer));
  }

  const DecodeTokenSpec spec_;
  Rng rng_;
  const uint32_t q_, kv_;
  reference::Model reference_;
};

// The caches of `forward` in the layout of the kernel; what it has not seen is NaN.
Bytes Caches(const DecodeTokenSpec& spec, const reference::Forward& forward) {
  const uint64_t part = DecodeKvPartBytes(spec);
  const uint64_t used = uint64_t{spec.kv_heads} * spec.context * spec.head_dim * 2;
  Bytes bytes(part * (2 * spec.layers - 1) + used, 0xff);
  for (uint32_t i = 0; i < 2 * spec.layers; ++i) {
    const auto& cache = forward.cache(i / 2);
    const std::vector<float>& from = i % 2 == 0 ? cache.k : cache.v;
    for (size_t j = 0; j < from.size(); ++j) {
      const size_t head = j / spec.head_dim % spec.kv_heads;
      const size_t position = j / spec.head_dim / spec.kv_heads;
      const uint16_t half = reference::FloatToHalf(from[j]);
      const size_t to =
          i * part + ((head * spec.context + position) * spec.head_dim + j % spec.head_dim) * 2;
      bytes[to] = static_cast<uint8_t>(half);
      bytes[to + 1] = static_cast<uint8_t>(half >> 8);
    }
  }
  return bytes;
}

Verdict CheckLogits(const std::vector<float>& got, const std::vector<double>& want,
                    double tolerance) {
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  const double relative = std::sqrt(error / norm);
  if (!(relative <= tolerance)) {
    return Wrong("the logits are off by ", relative, " of their norm; allowed ", tolerance);
  }
  Verdict verdict;
  verdict.worst = relative / tolerance;
  return verdict;
}

// What else a launch leaves behind.
Verdict CheckState(const DecodeTokenSpec& spec, uint32_t turn, uint32_t position,
                   const std::vector<uint32_t>& before_log, absl::Span<const Bytes> after) {
  const auto words = [&](size_t arg) { return FromBytes<uint32_t>(after[arg]); };
  const std::vector<uint32_t> exchange = words(3);
  if (exchange[0] != (turn ^ 1)) return Wrong("the turn is ", exchange[0]);
  const size_t copy = DecodeExchange(spec).copy;
  const auto other = exchange.begin() + kExchangeHeader + (turn ^ 1) * copy;
  if (std::any_of(other, other + copy, [](uint32_t word) { return word != UINT32_MAX; })) {
    return Wrong("the other copy of the exchange is not wiped");
  }
  if (!spec.pick) return {};
  const std::vector<float> logits = FromBytes<float>(after[2]);
  const auto best =
      static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  const size_t pick = spec.bias ? 11 : 10;
  std::vector<uint32_t> log = before_log;
  log[7 % spec.ring] = best;
  if (words(pick)[0] != 8 || words(pick + 1) != log || words(pick + 2)[0] != best ||
      words(0)[0] != best || words(1)[0] != position + 1) {
    return Wrong("picked ", words(pick + 2)[0], " for token ", best, ", step ", words(pick)[0],
                 ", position ", words(1)[0]);
  }
  return {};
}

CaseMaker Case(const DecodeTokenSpec& spec, uint32_t position, uint64_t seed) {
  const auto body = [=] {
    const RandomModel model(spec, seed);
    Rng rng(seed + 1);
    reference::Forward forward(model.reference());
    for (uint32_t i = 0; i < position; ++i) forward.Step(rng.Below(spec.vocab));
    const Bytes kv = Caches(spec, forward);
    const uint32_t token = rng.Below(spec.vocab);
    const uint32_t turn = static_cast<uint32_t>(seed + position) % 2;
    const std::vector<double> want = forward.Step(token);
    const Bytes kv_after = Caches(spec, forward);

    // The present copy is clean, the other one holds what an earlier launch left.
    std::vector<uint32_t> exchange(DecodeExchangeWords(spec), UINT32_MAX);
    exchange[0] = turn;
    const size_t copy = DecodeExchange(spec).copy;
    std::fill_n(exchange.begin() + kExchangeHeader + static_cast<std::ptrdiff_t>((turn ^ 1) * copy),
                copy, 0x3f800000);
    const std::vector<uint32_t> log(spec.ring, 5);

    KernelCase result = CaseOf(spec, BuildDecodeToken);
    result.args = {ToBytes(std::vector<uint32_t>{token}),
                   ToBytes(std::vector<uint32_t>{position}),
                   Bytes(spec.vocab * sizeof(float)),
                   ToBytes(exchange),
                   kv,
                   model.tiles,
                   ToBytes(model.plan),
                   ToBytes(model.norms)};
    if (spec.bias) result.args.emplace_back(ToBytes(model.biases));
    result.args.emplace_back(ToBytes(RopeRates(spec.head_dim, kRopeBase, 1.0, {})));
    result.args.emplace_back(model.embedding);
    if (spec.pick) {
      result.args.emplace_back(ToBytes(std::vector<uint32_t>{7}));
      result.args.emplace_back(ToBytes(log));
      result.args.emplace_back(Bytes(sizeof(uint32_t)));
    }
    result.same_bits = false;  // scores are sums of tensor cores
    result.check = [=](absl::Span<const Bytes> after) -> Verdict {
      const double tolerance = kTolerance[spec.terms - 1];
      const Verdict logits = CheckLogits(FromBytes<float>(after[2]), want, tolerance);
      if (!logits) return logits;
      for (size_t i = 0; i + 1 < kv_after.size(); i += 2) {
        const auto half = [&](const Bytes& bytes) {
          return reference::HalfToFloat(static_cast<uint16_t>(bytes[i] | bytes[i + 1] << 8));
        };
        const float got = half(after[4]);
        const float expected = half(kv_after);
        if (std::isnan(expected)
                ? !std::isnan(got)
                : !(std::abs(got - expected) <= 20 * tolerance * (1 + std::abs(expected)))) {
          return Wrong("half ", i / 2, " of the cache is ", got, ", not ", expected);
        }
      }
      const Verdict state = CheckState(spec, turn, position, log, after);
      return state ? logits : state;
    };
    return result;
  };
  const uint64_t layer = uint64_t{spec.width} * (2 * spec.heads * spec.head_dim + 3 * spec.ff);
  // Eight weights a word, several of which a lane multiplies at once; counted as elements of their
  // own, not even the smallest model would be little work.
  constexpr uint64_t kAtOnce = 16;
  return {FieldsText(spec), absl::StrCat("position=", position, " seed=", seed),
          (spec.layers * layer + uint64_t{spec.width} * spec.vocab) / kAtOnce, body};
}

struct Fuzz {
  using Spec = DecodeTokenSpec;
  struct Sizes {
    uint32_t position = 0;

    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields =
        Fields(Field("position", &Sizes::position, Between(0, 40), "of the token"));
  };
  // Models small enough for the reference: the variants' shapes with other types and geometry.
  static void Fit(Spec& spec, Sizes& sizes) {
    spec.width = 256;
    spec.ff = std::min(spec.ff, 768u);
    Limit(spec.kv_heads, 2);
    spec.heads = 512 / spec.head_dim;
    Limit(spec.layers, 2);
    // Enough logits for their norm to say something.
    spec.vocab = std::clamp(spec.vocab, 64u, 700u);
    spec.context = 64;
    spec.eps = 1e-5f;
    spec.ctas = std::clamp(spec.ctas, spec.heads, spec.heads + 4);
    spec.warps = std::clamp(spec.warps, 8u, 14u);
    Limit(spec.in_flight, 4);
    Limit(spec.split, 40);
    Limit(spec.ring, 9);
    sizes.position = std::min(sizes.position, 40u);
  }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values, uint64_t seed) {
    return Case(spec, sizes.position, seed);
  }
};

}  // namespace

std::vector<CaseMaker> DecodeTokenCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const DecodeTokenSpec& spec : DecodeTokenVariants()) {
    for (uint32_t position : {0u, 1u, 13u, 40u}) cases.push_back(Case(spec, position, seed));
  }
  return cases;
}

FuzzFamily DecodeTokenFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith
