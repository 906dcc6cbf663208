#include "ptx_templates/kv_append.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/attention.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

// Where the rows go: sequence and position of each. Without slots the sequence is 0.
struct Place {
  uint32_t slot, position;
};

// What one cache holds after the rows of `x` were put in.
Bytes Appended(const KvAppendSpec& spec, uint32_t context, uint32_t slots,
               const std::vector<Place>& places, const std::vector<float>& x, const Bytes& cache) {
  const Bytes cells =
      spec.type == QuantType::kF16 ? ToBytes(reference::AppendF16(x)) : reference::AppendQ8_0(x);
  const size_t cell_bytes = cells.size() / (places.size() * spec.kv_heads);
  Bytes result = cache;
  for (size_t r = 0; r < places.size(); ++r) {
    const auto [slot, position] = places[r];
    if (position >= context || slot >= slots) continue;
    for (size_t head = 0; head < spec.kv_heads; ++head) {
      const size_t cell = (slot * spec.kv_heads + head) * context + position;
      std::copy_n(&cells[(r * spec.kv_heads + head) * cell_bytes], cell_bytes,
                  &result[cell * cell_bytes]);
    }
  }
  return result;
}

// What a cache holds before: anything, as long as no two places are alike.
Bytes RandomBytes(size_t count, Rng& rng) {
  std::vector<uint64_t> words(count / sizeof(uint64_t) + 1);
  for (uint64_t& word : words) word = rng.Bits();
  Bytes bytes = ToBytes(words);
  bytes.resize(count);
  return bytes;
}

CaseMaker Case(const KvAppendSpec& spec, uint32_t context, uint32_t slots,
               const std::vector<Place>& places, Values values, uint64_t seed) {
  const size_t elements = size_t{spec.kv_heads} * spec.head_dim;
  const auto body = [=] {
    Rng rng(seed);
    const size_t cache_bytes =
        size_t{slots} * context * spec.kv_heads * KvCellBytes(spec.type, spec.head_dim);
    const Bytes k_cache = RandomBytes(cache_bytes, rng);
    const Bytes v_cache = RandomBytes(cache_bytes, rng);
    std::vector<float> k = rng.Floats(values, elements * places.size());
    std::vector<float> v = rng.Floats(values, elements * places.size());
    // Around the largest half: these round down to it, up to infinity, and a tie goes to infinity.
    const float edges[] = {65519.0f, 65520.0f, -1e30f, 0x1p-24f, 0x1p-25f, 0x1.8p-24f};
    if (values == Values::kLargest && spec.type == QuantType::kF16) {
      for (size_t i = 0; i < v.size(); ++i) v[i] = edges[i % std::size(edges)];
    }
    // Around the least scale of a block: 2^-24, and half of it, which rounds to zero.
    if (values == Values::kDenormals && spec.type == QuantType::kQ8_0) {
      for (size_t i = 0; i < v.size(); ++i) {
        v[i] = (i / 32 % 2 == 0 ? 0x1p-25f : 0x1.2p-25f) * static_cast<float>(i % 128);
      }
    }
    std::vector<uint32_t> positions, row_slots;
    for (const Place& place : places) {
      positions.push_back(place.position);
      row_slots.push_back(place.slot);
    }
    KernelCase result = CaseOf(spec, BuildKvAppend);
    result.args = {k_cache, v_cache, ToBytes(k), ToBytes(v), ToBytes(positions)};
    if (spec.slots != 1) result.args.emplace_back(ToBytes(row_slots));
    if (!spec.context) result.args.emplace_back(context);
    if (!spec.rows) result.args.emplace_back(static_cast<uint32_t>(places.size()));
    if (!spec.slots) result.args.emplace_back(slots);
    const Bytes want_k = Appended(spec, context, slots, places, k, k_cache);
    const Bytes want_v = Appended(spec, context, slots, places, v, v_cache);
    result.check = [want_k, want_v](absl::Span<const Bytes> after) -> Verdict {
      for (const auto& [name, got, want] :
           {std::tuple("k_cache", &after[0], &want_k), std::tuple("v_cache", &after[1], &want_v)}) {
        const auto [a, b] = std::mismatch(got->begin(), got->end(), want->begin(), want->end());
        if (a == got->end() && b == want->end()) continue;
        return Wrong(name, " differs from byte ", a - got->begin(), " on");
      }
      return Verdict();
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("context=", context, " slots=", slots, " rows=", places.size(),
                       " first_slot=", places[0].slot, " first_position=", places[0].position,
                       " values=", ToString(values), " seed=", seed),
          elements * (context + places.size()), body};
}

struct Fuzz {
  using Spec = KvAppendSpec;
  struct Sizes {
    uint32_t context = 1, rows = 1, slots = 1, position = 0;

    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields =
        Fields(Field("context", &Sizes::context, AtLeast(1), "positions of a sequence"),
               Field("rows", &Sizes::rows, Between(1, 33), "tokens"),
               Field("slots", &Sizes::slots, AtLeast(1), "sequences"),
               Field("position", &Sizes::position, {}, "of the first token"));
  };
  static void Fit(Spec& spec, Sizes& sizes) {
    if (spec.type == QuantType::kQ8_0) RoundUp(spec.head_dim, Info(spec.type).block_weights);
    sizes.position %= sizes.context + 2;  // also beyond the cache
  }
  // Token r goes to sequence r at position + r: no two to the same place.
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    std::vector<Place> places;
    for (uint32_t r = 0; r < sizes.rows; ++r) {
      places.push_back({spec.slots == 1 ? 0 : r % sizes.slots, sizes.position + r});
    }
    if (spec.slots != 1 && seed % 4 == 0) places[0].slot = sizes.slots;  // there is none
    CaseMaker maker = Case(spec, sizes.context, sizes.slots, places, values, seed);
    maker.work *= sizes.slots;  // the caches must be made
    return maker;
  }
};

}  // namespace

std::vector<CaseMaker> KvAppendCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const KvAppendSpec& spec : KvAppendVariants()) {
    const uint32_t context = spec.context.value_or(200);
    const uint32_t slots = spec.slots.value_or(4);
    for (uint32_t rows : {1, 2, 3}) {
      if (spec.rows && rows != *spec.rows) continue;
      // The last ones are beyond the cache: nothing may be written for them.
      for (uint32_t position : {0u, context / 2, context - 1, context, UINT32_MAX}) {
        // No two rows go to the same place.
        std::vector<Place> places{{slots - 1, position}, {0, 1}, {slots / 2, 3}};
        places.resize(rows);
        for (Values values : kAllValues) {
          cases.push_back(Case(spec, context, slots, places, values, seed));
        }
      }
      if (spec.slots == 1) continue;
      for (uint32_t slot : {slots, UINT32_MAX}) {  // sequences that the cache does not have
        std::vector<Place> places{{slot, 1}, {1, 1}, {2, 0}};
        places.resize(rows);
        cases.push_back(Case(spec, context, slots, places, Values::kNormal, seed));
      }
    }
  }
  return cases;
}

FuzzFamily KvAppendFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith
