// Cases of the families that fuse something with matrix-vector products: gemv_norm, gemv_multi and
// gate_up.
#include <initializer_list>

#include "absl/strings/str_cat.h"
#include "ptx_templates/gate_up.h"
#include "ptx_templates/gemv_multi.h"
#include "ptx_templates/gemv_norm.h"
#include "tests/ptx_templates/kernel_cases.h"
#include "tests/reference/projection.h"
#include "tests/util/expect_close.h"
#include "tests/util/rng.h"

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
  return [want = std::move(want)](absl::Span<const Bytes> after) -> testing::AssertionResult {
    for (size_t i = 0; i < want.size(); ++i) {
      testing::AssertionResult result = IsClose(FromBytes<float>(after[i]), want[i]);
      if (!result) return result << ", output " << i;
    }
    return testing::AssertionSuccess();
  };
}

void AddSizes(KernelCase& test,
              std::initializer_list<std::pair<std::optional<uint32_t>, uint32_t>> sizes) {
  for (const auto& [baked, size] : sizes) {
    if (!baked) test.args.emplace_back(size);
  }
}

// Makers for the value distributions that a case of this size can afford.
void AddCases(std::string fields, uint32_t k, uint32_t n, uint32_t m, uint64_t seed,
              const std::function<KernelCase(Values)>& make, std::vector<CaseMaker>& cases) {
  constexpr uint64_t kSmall = 200'000;
  const uint64_t work = uint64_t{k} * n * m;
  for (const Values values : kAllValues) {
    if (values != Values::kNormal && work > kSmall) continue;
    cases.push_back({fields, absl::StrCat("k=", k, " values=", ToString(values), " seed=", seed),
                     work, [=] { return make(values); }});
  }
}

}  // namespace

std::vector<CaseMaker> GemvNormCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const GemvNormSpec& spec : GemvNormVariants()) {
    const uint32_t k = spec.k.value_or(2304), n = spec.n.value_or(5);
    const auto make = [=](Values values) {
      const Inputs in(spec.quant, k, {n}, spec.m, false, values, seed);
      KernelCase test = CaseOf(spec, BuildGemvNorm);
      test.args = {ToBytes(in.before), in.w[0], in.x_bytes, ToBytes(in.weight)};
      if (spec.bias) test.args.emplace_back(ToBytes(in.bias[0]));
      AddSizes(test, {{spec.k, k}, {spec.n, n}});
      test.check = Check(
          {Product(spec, in, 0, n, true,
                   {.bias = If(spec.bias, in.bias[0]), .before = If(spec.residual, in.before)})});
      return test;
    };
    AddCases(FieldsText(spec), k, n, spec.m, seed, make, cases);
  }
  return cases;
}

std::vector<CaseMaker> GemvMultiCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const GemvMultiSpec& spec : GemvMultiVariants()) {
    const uint32_t k = spec.k.value_or(2304);
    std::vector<uint32_t> n = {spec.n0.value_or(6), spec.n1.value_or(1), spec.n2.value_or(3)};
    n.resize(spec.matrices);
    const auto make = [=](Values values) {
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
    };
    uint32_t rows = 0;
    for (const uint32_t count : n) rows += count;
    AddCases(FieldsText(spec), k, rows, spec.m, seed, make, cases);
  }
  return cases;
}

std::vector<CaseMaker> GateUpCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const GateUpSpec& spec : GateUpVariants()) {
    const uint32_t k = spec.k.value_or(2304), n = spec.n.value_or(5);
    const auto make = [=](Values values) {
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
    };
    AddCases(FieldsText(spec), k, 2 * n, spec.m, seed, make, cases);
  }
  return cases;
}

}  // namespace ptxsmith
