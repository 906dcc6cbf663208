#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ptx_templates/embed_row.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/decode.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

CaseMaker Case(const EmbedRowSpec& spec, uint32_t n, const std::vector<uint32_t>& tokens,
               Values values, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const uint32_t k = spec.k;
    const Bytes w = rng.Blocks(spec.quant, size_t{k} / Info(spec.quant).block_weights * n, values);
    KernelCase result = CaseOf(spec, BuildEmbedRow);
    result.args = {Bytes(tokens.size() * k * sizeof(float)), w, ToBytes(tokens)};
    if (!spec.n) result.args.emplace_back(n);
    if (!spec.rows) result.args.emplace_back(static_cast<uint32_t>(tokens.size()));
    std::vector<float> want;
    for (uint32_t token : tokens) {
      if (token >= n) {  // writes nothing
        const std::vector<float> poison = FromBytes<float>(Bytes(k * sizeof(float), kPoison));
        want.insert(want.end(), poison.begin(), poison.end());
        continue;
      }
      const size_t row_bytes = w.size() / n;
      const absl::Span<const uint8_t> row(w.data() + token * row_bytes, row_bytes);
      for (const reference::Weight& weight : reference::Decode(spec.quant, row)) {
        want.push_back(spec.scale == 1 ? weight.value : weight.value * spec.scale);
      }
    }
    result.check = [want](absl::Span<const Bytes> after) {
      return CheckBits(FromBytes<float>(after[0]), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("n=", n, " rows=", tokens.size(), " last_token=", tokens.back(),
                       " values=", ToString(values), " seed=", seed),
          uint64_t{spec.k} * tokens.size(), body};
}

struct Fuzz {
  using Spec = EmbedRowSpec;
  struct Sizes {
    uint32_t n = 1, rows = 1, token = 0;

    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields =
        Fields(Field("n", &Sizes::n, AtLeast(1), "rows of the table"),
               Field("rows", &Sizes::rows, Between(1, 33), "tokens"),
               Field("token", &Sizes::token, {}, "the last one; the others are random"));
  };
  static void Fit(Spec& spec, Sizes& sizes) {
    RoundUp(spec.k, DecoderFor(spec.quant).chunk_weights);
    sizes.token %= sizes.n + 2;  // also beyond the table
  }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    Rng rng(seed);
    std::vector<uint32_t> tokens(sizes.rows);
    for (uint32_t& token : tokens) token = rng.Below(sizes.n);
    tokens.back() = sizes.token;
    CaseMaker maker = Case(spec, sizes.n, tokens, values, seed);
    maker.work += uint64_t{spec.k} * sizes.n;  // the table must be made
    return maker;
  }
};

}  // namespace

std::vector<CaseMaker> EmbedRowCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const EmbedRowSpec& spec : EmbedRowVariants()) {
    const uint32_t n = spec.n.value_or(11);
    for (uint32_t rows : {1, 2, 3, 5}) {
      if (spec.rows && rows != *spec.rows) continue;
      // The first and the last row of the table, a row twice, one just beyond the table.
      for (uint32_t token : {n - 1, 0u, n / 2, n, UINT32_MAX}) {
        std::vector<uint32_t> tokens(rows, n - 1);
        for (uint32_t r = 1; r < rows; ++r) tokens[r - 1] = static_cast<uint32_t>(seed + r) % n;
        tokens.back() = token;
        for (Values values : kAllValues) cases.push_back(Case(spec, n, tokens, values, seed));
      }
    }
  }
  return cases;
}

FuzzFamily EmbedRowFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith
