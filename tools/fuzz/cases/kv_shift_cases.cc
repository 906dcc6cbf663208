#include "ptx_templates/kv_shift.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/attention.h"
#include "tools/fuzz/reference/decode.h"
#include "tools/fuzz/reference/ops.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

constexpr double kRopeBase = 10000.0;

// Which positions of which sequence move, and by how much.
struct Move {
  uint32_t slot, to, drop, positions;
};

// Where the cells of a cache lie.
struct Layout {
  QuantType type;
  uint32_t kv_heads, head_dim, context, slots;

  size_t cell_bytes() const { return KvCellBytes(type, head_dim); }
  size_t bytes() const { return size_t{slots} * kv_heads * context * cell_bytes(); }
  absl::Span<const uint8_t> Cell(const Bytes& cache, uint32_t slot, uint32_t head,
                                 uint32_t position) const {
    const size_t cell = (size_t{slot} * kv_heads + head) * context + position;
    return absl::MakeConstSpan(cache).subspan(cell * cell_bytes(), cell_bytes());
  }
  std::vector<float> Floats(absl::Span<const uint8_t> cell) const {
    std::vector<float> values;
    for (const reference::Weight& w : reference::Decode(type, cell)) values.push_back(w.value);
    return values;
  }
  Bytes Random(Values values, Rng& rng) const {
    std::vector<float> x = rng.Floats(values, size_t{slots} * kv_heads * context * head_dim);
    for (float& value : x) value *= 0.5f;  // a rotation of the largest stays finite
    return type == QuantType::kF16 ? ToBytes(reference::AppendF16(x)) : reference::AppendQ8_0(x);
  }
};

// A key as it should be after the move: rotated back, and rounded to the type again.
reference::Expected Turned(const KvShiftSpec& spec, const std::vector<float>& key, uint32_t drop) {
  reference::RopeSpec rule;
  rule.pairs = spec.pairing == RopePairing::kAdjacent ? reference::RopePairs::kAdjacent
                                                      : reference::RopePairs::kHalfSplit;
  rule.base = kRopeBase;
  rule.dims = spec.rope_dim;
  rule.angle_roundings = 0x1p-23;
  // Backwards: of a pair (b, a) the rotation gives (b', a').
  std::vector<float> swapped = key;
  const auto swap = [&](auto& values) {
    for (uint32_t i = 0; i < spec.rope_dim / 2; ++i) {
      const bool adjacent = spec.pairing == RopePairing::kAdjacent;
      std::swap(values[adjacent ? 2 * i : i], values[adjacent ? 2 * i + 1 : i + spec.rope_dim / 2]);
    }
  };
  swap(swapped);
  reference::Expected want = reference::Rope(swapped, spec.head_dim, drop, rule);
  swap(want.value);
  swap(want.bound);
  if (spec.type == QuantType::kF16) return reference::RoundedToHalf(want);
  for (size_t first = 0; first < key.size(); first += kQ8_0Weights) {
    double largest = 0;
    for (size_t i = first; i < first + kQ8_0Weights; ++i) {
      largest = std::max(largest, std::abs(want.value[i]) + want.bound[i]);
    }
    // Half a step, and 127 times what the scale rounds to, 2^-11; where the scale is no normal
    // half, all of the block may go.
    const double lost = largest / 127 < 0x1p-14 ? largest : 0.57 * largest / 127;
    for (size_t i = first; i < first + kQ8_0Weights; ++i) want.bound[i] += lost;
  }
  return want;
}

CaseMaker Case(const KvShiftSpec& spec, uint32_t context, uint32_t slots, const Move& move,
               Values values, uint64_t seed) {
  const Layout layout{spec.type, spec.kv_heads, spec.head_dim, context, slots};
  const auto body = [=] {
    Rng rng(seed);
    const Bytes k_before = layout.Random(values, rng);
    const Bytes v_before = layout.Random(values, rng);
    KernelCase result = CaseOf(spec, BuildKvShift);
    result.args = {k_before, v_before, ToBytes(RopeRates(spec.rope_dim, kRopeBase, 1.0, {})),
                   ToBytes(std::vector<uint32_t>{move.slot, move.to, move.drop})};
    if (!spec.context) result.args.emplace_back(context);
    if (!spec.positions) result.args.emplace_back(move.positions);
    if (!spec.slots) result.args.emplace_back(slots);
    result.check = [=](absl::Span<const Bytes> after) -> Verdict {
      Verdict verdict;
      for (uint32_t slot = 0; slot < slots; ++slot) {
        for (uint32_t head = 0; head < spec.kv_heads; ++head) {
          for (uint32_t position = 0; position < context; ++position) {
            const bool moved = slot == move.slot && position >= move.to &&
                               position - move.to < move.positions &&
                               uint64_t{position} + move.drop < context;
            const uint32_t from = moved ? position + move.drop : position;
            const auto cell = [&](const Bytes& cache, uint32_t at) {
              return layout.Cell(cache, slot, head, at);
            };
            if (cell(after[1], position) != cell(v_before, from)) {
              return Wrong("the value at position ", position, " is not that of ", from);
            }
            if (!moved && cell(after[0], position) != cell(k_before, position)) {
              return Wrong("the key at position ", position, " has changed");
            }
            if (!moved) continue;
            const Verdict key =
                CheckClose(layout.Floats(cell(after[0], position)),
                           Turned(spec, layout.Floats(cell(k_before, from)), move.drop));
            if (!key) return key;
            verdict.worst = std::max(verdict.worst, key.worst);
          }
        }
      }
      return verdict;
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("context=", context, " slots=", slots, " slot=", move.slot, " to=", move.to,
                       " drop=", move.drop, " positions=", move.positions,
                       " values=", ToString(values), " seed=", seed),
          uint64_t{slots} * context * spec.kv_heads * spec.head_dim, body};
}

struct Fuzz {
  using Spec = KvShiftSpec;
  struct Sizes {
    uint32_t context = 1, positions = 1, slots = 1, drop = 1;

    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields =
        Fields(Field("context", &Sizes::context, AtLeast(1), "positions of a sequence"),
               Field("positions", &Sizes::positions, Between(1, 40), "positions moved"),
               Field("slots", &Sizes::slots, AtLeast(1), "sequences"),
               Field("drop", &Sizes::drop, AtLeast(1), "positions forgotten"));
  };
  static void Fit(Spec& spec, Sizes& sizes) {
    if (spec.type == QuantType::kQ8_0) RoundUp(spec.head_dim, Info(spec.type).block_weights);
    spec.rope_dim = std::min(spec.rope_dim, spec.head_dim);
    sizes.drop = std::clamp(sizes.drop, sizes.positions, 1u << 20);
  }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    Rng rng(seed);
    const Move move{rng.Below(sizes.slots + 1), rng.Below(sizes.context + 1), sizes.drop,
                    sizes.positions};
    return Case(spec, sizes.context, sizes.slots, move, values, seed);
  }
};

}  // namespace

std::vector<CaseMaker> KvShiftCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const KvShiftSpec& spec : KvShiftVariants()) {
    const uint32_t context = spec.context.value_or(30);
    const uint32_t slots = spec.slots.value_or(3);
    const uint32_t most = spec.positions.value_or(context / 3);
    for (const Move& move :
         {Move{slots - 1, 0, most, most}, Move{0, 1, std::max(most, context / 2), most},
          // Beyond the context, and a sequence that is not there.
          Move{0, context - most, most, most}, Move{slots, 0, most, most}}) {
      for (const Values values : {Values::kNormal, Values::kHeavyTailed}) {
        cases.push_back(Case(spec, context, slots, move, values, seed));
      }
    }
  }
  return cases;
}

FuzzFamily KvShiftFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith
