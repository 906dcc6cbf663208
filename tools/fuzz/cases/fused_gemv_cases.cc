// Cases of the families that fuse something with matrix-vector products: gemv_norm, gemv_multi and
// gate_up.
#include <algorithm>
#include <initializer_list>

#include "absl/strings/str_cat.h"
#include "ptx_templates/gate_up.h"
#include "ptx_templates/gemv_multi.h"
#include "ptx_templates/gemv_norm.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/projection.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

using reference::Expected;

// The inputs of a case, drawn in one order.
struct Inputs {
  std::vector<Bytes> w;
  std::vector<float> x;  // as quantised when q8_1
  Bytes x_bytes;
  std::vector<float> weight;  // of the norm
  std::vector<std::vector<float>> bias;
  std::vector<float> before;

  Inputs(QuantType type, uint32_t k, absl::Span<const uint32_t> n, uint32_t m, bool q8_1,
         Values values, uint64_t seed) {
    Rng rng(seed);
    x = rng.Floats(values, size_t{k} * m);
    x_bytes = q8_1 ? reference::QuantizeQ8_1(x) : ToBytes(x);
    if (q8_1) x = reference::DequantizeQ8_1(x_bytes);
    weight = rng.Floats(Values::kNormal, k);
    for (const uint32_t rows : n) {
      w.push_back(rng.Blocks(type, size_t{k} / Info(type).block_weights * rows, values));
      bias.push_back(rng.Floats(Values::kNormal, rows));
    }
    before = rng.Floats(Values::kNormal, size_t{n[0]} * m);
  }
};

template <class Spec>
Expected Product(const Spec& spec, const Inputs& in, size_t i, uint32_t n, bool norm,
                 const reference::Epilogue& epilogue) {
  const reference::Matrix w = {spec.quant, in.w[i], n};
  return norm ? reference::ProjectNormed(w, in.x, in.weight, spec.eps, epilogue)
              : reference::Project(w, in.x, epilogue);
}

absl::Span<const float> If(bool condition, const std::vector<float>& values) {
  return condition ? absl::MakeConstSpan(values) : absl::Span<const float>();
}

// Compares outputs 0, 1, ... with what is wanted.
auto Check(std::vector<Expected> want) {
  return [want = std::move(want)](absl::Span<const Bytes> after) {
    Verdict all;
    for (size_t i = 0; i < want.size(); ++i) {
      const Verdict output = CheckClose(FromBytes<float>(after[i]), want[i]);
      if (!output) return Wrong(output.problem, ", output ", i);
      all.worst = std::max(all.worst, output.worst);
    }
    return all;
  };
}

void AddSizes(KernelCase& test,
              std::initializer_list<std::pair<std::optional<uint32_t>, uint32_t>> sizes) {
  for (const auto& [baked, size] : sizes) {
    if (!baked) test.args.emplace_back(size);
  }
}

KernelCase MakeCase(const GemvNormSpec& spec, const ProductSizes& sizes, Values values,
                    uint64_t seed) {
  const auto [k, n] = sizes;
  const Inputs in(spec.quant, k, {n}, spec.m, false, values, seed);
  KernelCase test = CaseOf(spec, BuildGemvNorm);
  test.args = {ToBytes(in.before), in.w[0], in.x_bytes, ToBytes(in.weight)};
  if (spec.bias) test.args.emplace_back(ToBytes(in.bias[0]));
  AddSizes(test, {{spec.k, k}, {spec.n, n}});
  test.check =
      Check({Product(spec, in, 0, n, true,
                     {.bias = If(spec.bias, in.bias[0]), .before = If(spec.residual, in.before)})});
  return test;
}

struct MultiSizes {
  uint32_t k = 32, n0 = 1, n1 = 1, n2 = 1;

  static constexpr absl::string_view kFamily = "sizes";
  static constexpr auto kFields =
      Fields(Field("k", &MultiSizes::k, AtLeast(32, 32), "weights per row"),
             Field("n0", &MultiSizes::n0, AtLeast(1), "rows of the first matrix"),
             Field("n1", &MultiSizes::n1, AtLeast(1), "rows of the second"),
             Field("n2", &MultiSizes::n2, AtLeast(1), "rows of the third, if there is one"));
};

KernelCase MakeCase(const GemvMultiSpec& spec, const MultiSizes& sizes, Values values,
                    uint64_t seed) {
  const uint32_t k = sizes.k;
  std::vector<uint32_t> n = {sizes.n0, sizes.n1, sizes.n2};
  n.resize(spec.matrices);
  const Inputs in(spec.quant, k, n, spec.m, spec.input == QuantType::kQ8_1, values, seed);
  KernelCase test = CaseOf(spec, BuildGemvMulti);
  std::vector<Expected> want;
  for (size_t i = 0; i < n.size(); ++i) {
    test.args.emplace_back(Bytes(size_t{n[i]} * spec.m * sizeof(float)));
    want.push_back(Product(spec, in, i, n[i], spec.norm, {.bias = If(spec.bias, in.bias[i])}));
  }
  for (const Bytes& w : in.w) test.args.emplace_back(w);
  test.args.emplace_back(in.x_bytes);
  if (spec.norm) test.args.emplace_back(ToBytes(in.weight));
  for (size_t i = 0; spec.bias && i < n.size(); ++i) {
    test.args.emplace_back(ToBytes(in.bias[i]));
  }
  AddSizes(test, {{spec.k, k}, {spec.n0, n[0]}, {spec.n1, n[1]}});
  if (n.size() == 3) AddSizes(test, {{spec.n2, n[2]}});
  test.check = Check(std::move(want));
  return test;
}

KernelCase MakeCase(const GateUpSpec& spec, const ProductSizes& sizes, Values values,
                    uint64_t seed) {
  const auto [k, n] = sizes;
  const Inputs in(spec.quant, k, {n, n}, spec.m, spec.input == QuantType::kQ8_1, values, seed);
  KernelCase test = CaseOf(spec, BuildGateUp);
  const Bytes y(size_t{n} * spec.m * sizeof(float));
  const Expected gate = Product(spec, in, 0, n, spec.norm, {});
  const Expected up = Product(spec, in, 1, n, spec.norm, {});
  test.args.emplace_back(y);
  if (!spec.combine) test.args.emplace_back(y);
  test.args.insert(test.args.end(), {in.w[0], in.w[1], in.x_bytes});
  if (spec.norm) test.args.emplace_back(ToBytes(in.weight));
  AddSizes(test, {{spec.k, k}, {spec.n, n}});
  test.check = spec.combine ? Check({reference::SwiGluOf(gate, up)}) : Check({gate, up});
  return test;
}

// Rows of all matrices.
uint64_t Rows(const GemvNormSpec&, const ProductSizes& sizes) { return sizes.n; }
uint64_t Rows(const GateUpSpec&, const ProductSizes& sizes) { return uint64_t{2} * sizes.n; }
uint64_t Rows(const GemvMultiSpec& spec, const MultiSizes& sizes) {
  return uint64_t{sizes.n0} + sizes.n1 + (spec.matrices == 3 ? sizes.n2 : 0);
}

template <class S, class Z>
struct Fuzz {
  using Spec = S;
  using Sizes = Z;
  static void Fit(Spec& spec, Sizes& sizes) {
    RoundUp(sizes.k, DecoderFor(spec.quant).chunk_weights);
  }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    return {FieldsText(spec),
            absl::StrCat(FieldsText(sizes), " values=", ToString(values), " seed=", seed),
            sizes.k * Rows(spec, sizes) * spec.m,
            [=] { return MakeCase(spec, sizes, values, seed); }};
  }
};

// Makers for the value distributions that a case of this size can afford.
template <class Spec, class Sizes>
void AddCases(const Spec& spec, const Sizes& sizes, uint64_t seed, std::vector<CaseMaker>& cases) {
  constexpr uint64_t kSmall = 200'000;
  for (const Values values : kAllValues) {
    CaseMaker maker = Fuzz<Spec, Sizes>::Make(spec, sizes, values, seed);
    if (values == Values::kNormal || maker.work <= kSmall) cases.push_back(std::move(maker));
  }
}

}  // namespace

std::vector<CaseMaker> GemvNormCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const GemvNormSpec& spec : GemvNormVariants()) {
    AddCases(spec, ProductSizes{spec.k.value_or(2304), spec.n.value_or(5)}, seed, cases);
  }
  return cases;
}

std::vector<CaseMaker> GemvMultiCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const GemvMultiSpec& spec : GemvMultiVariants()) {
    AddCases(spec,
             MultiSizes{spec.k.value_or(2304), spec.n0.value_or(6), spec.n1.value_or(1),
                        spec.n2.value_or(3)},
             seed, cases);
  }
  return cases;
}

std::vector<CaseMaker> GateUpCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const GateUpSpec& spec : GateUpVariants()) {
    AddCases(spec, ProductSizes{spec.k.value_or(2304), spec.n.value_or(5)}, seed, cases);
  }
  return cases;
}

FuzzFamily GemvNormFuzz() { return MakeFuzzFamily<Fuzz<GemvNormSpec, ProductSizes>>(); }
FuzzFamily GemvMultiFuzz() { return MakeFuzzFamily<Fuzz<GemvMultiSpec, MultiSizes>>(); }
FuzzFamily GateUpFuzz() { return MakeFuzzFamily<Fuzz<GateUpSpec, ProductSizes>>(); }

}  // namespace ptxsmith
