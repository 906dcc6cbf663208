#include "ptx_templates/elementwise.h"

#include <algorithm>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/elementwise.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

using Floats = std::vector<float>;

// A random input. Heavy-tailed ones visit the places where exponentials reach zero and infinity.
Floats Input(Rng& rng, Values values, uint32_t n) {
  Floats x = rng.Floats(values, n);
  if (values == Values::kHeavyTailed) {
    for (uint32_t i = 0; i < n; i += 3) x[i] = static_cast<float>(200 * rng.Uniform() - 100);
  }
  return x;
}

// `output` is the argument that holds the result.
void CheckOutput(KernelCase& test, size_t output, const reference::Expected& want) {
  test.check = [output, want](absl::Span<const Bytes> after) {
    return CheckClose(FromBytes<float>(after[output]), want);
  };
}

// The kernels that write a buffer of their own, from one input (`reference` takes one) or two.
template <class Spec, class F>
CaseMaker MapCase(absl::StatusOr<KernelSpec> (*build)(const Spec&, const Target&), F reference,
                  const Spec& spec, uint32_t n, Values a, Values b, bool in_place, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    KernelCase result = CaseOf(spec, build);
    const Floats first = Input(rng, a, n);
    result.args = {Bytes(n * sizeof(float)), ToBytes(first)};
    if (in_place) result.args[0] = SameAs{1};
    const size_t output = in_place ? 1 : 0;
    if constexpr (std::is_same_v<Spec, SoftcapSpec>) {
      CheckOutput(result, output, reference(first, spec.cap));
    } else if constexpr (std::is_invocable_v<F, Floats>) {
      CheckOutput(result, output, reference(first));
    } else {
      const Floats second = rng.Floats(b, n);
      result.args.emplace_back(ToBytes(second));
      CheckOutput(result, output, reference(first, second));
    }
    if (!spec.n) result.args.emplace_back(n);
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("n=", n, " first=", ToString(a), " second=", ToString(b),
                       in_place ? " in place" : "", " seed=", seed),
          n, body};
}

template <class Spec, class F>
std::vector<CaseMaker> MapCases(absl::StatusOr<KernelSpec> (*build)(const Spec&, const Target&),
                                F reference, uint64_t seed) {
  std::vector<CaseMaker> cases;
  const auto add = [&](const Spec& spec, uint32_t n, Values a, Values b, bool in_place) {
    cases.push_back(MapCase(build, reference, spec, n, a, b, in_place, seed));
  };
  for (const Spec& spec : Spec::Variants()) {
    for (uint32_t n : {1, 31, 33, 255, 256, 257, 10007}) {
      if (spec.n && n > 1) continue;
      for (Values values : kAllValues) {
        add(spec, spec.n.value_or(n), values, values, false);
        if (values == Values::kNormal || !std::is_invocable_v<F, Floats, Floats>) continue;
        add(spec, spec.n.value_or(n), values, Values::kNormal, false);
      }
    }
    add(spec, spec.n.value_or(77), Values::kNormal, Values::kNormal, true);
  }
  return cases;
}

template <class S, auto kBuild, auto kReference>
struct MapFuzz {
  using Spec = S;
  using Sizes = ElementSizes;
  static void Fit(Spec&, Sizes&) {}
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    const bool in_place = seed % 4 == 0;
    return MapCase<Spec>(kBuild, kReference, spec, sizes.n, values, values, in_place, seed);
  }
};

// The kernels that add to x: y has x's size, or is a bias of one row.
template <class Spec>
CaseMaker AddCase(const Spec& spec, absl::StatusOr<KernelSpec> (*build)(const Spec&, const Target&),
                  uint32_t n, uint32_t rows, Values a, Values b, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const Floats x = rng.Floats(a, size_t{n} * rows);
    const Floats y = rng.Floats(b, n);
    Floats repeated;
    for (uint32_t r = 0; r < rows; ++r) repeated.insert(repeated.end(), y.begin(), y.end());
    KernelCase result = CaseOf(spec, build);
    result.args = {ToBytes(x), ToBytes(y)};
    CheckOutput(result, 0, reference::Add(x, repeated));
    if (!spec.n) result.args.emplace_back(n);
    if constexpr (std::is_same_v<Spec, BiasAddSpec>) {
      if (!spec.rows) result.args.emplace_back(rows);
    }
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("n=", n, " rows=", rows, " first=", ToString(a), " second=", ToString(b),
                       " seed=", seed),
          uint64_t{n} * rows, body};
}

template <class S, auto kBuild, class Z>
struct AddFuzz {
  using Spec = S;
  using Sizes = Z;
  static void Fit(Spec&, Sizes&) {}
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    uint32_t rows = 1;
    if constexpr (std::is_same_v<Sizes, RowSizes>) rows = sizes.rows;
    return AddCase<Spec>(spec, kBuild, sizes.n, rows, values, values, seed);
  }
};

}  // namespace

std::vector<CaseMaker> SiluCases(uint64_t seed) {
  return MapCases(BuildSilu, reference::Silu, seed);
}
std::vector<CaseMaker> GeluTanhCases(uint64_t seed) {
  return MapCases(BuildGeluTanh, reference::GeluTanh, seed);
}
std::vector<CaseMaker> GeluErfCases(uint64_t seed) {
  return MapCases(BuildGeluErf, reference::GeluErf, seed);
}
std::vector<CaseMaker> MultiplyCases(uint64_t seed) {
  return MapCases(BuildMultiply, reference::Multiply, seed);
}
std::vector<CaseMaker> SwigluCases(uint64_t seed) {
  return MapCases(BuildSwiglu, reference::SwiGlu, seed);
}
std::vector<CaseMaker> GegluCases(uint64_t seed) {
  return MapCases(BuildGeglu, reference::GeGlu, seed);
}

std::vector<CaseMaker> SoftcapCases(uint64_t seed) {
  return MapCases(BuildSoftcap, reference::Softcap, seed);
}

std::vector<CaseMaker> ResidualAddCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const ResidualAddSpec& spec : ResidualAddSpec::Variants()) {
    for (uint32_t n : {1, 31, 33, 255, 256, 257, 10007}) {
      if (spec.n && n > 1) continue;
      for (Values a : kAllValues) {
        for (Values b : {a, Values::kNormal}) {
          cases.push_back(AddCase(spec, BuildResidualAdd, spec.n.value_or(n), 1, a, b, seed));
        }
      }
    }
  }
  return cases;
}

std::vector<CaseMaker> BiasAddCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const BiasAddSpec& spec : BiasAddVariants()) {
    for (uint32_t n : {1, 31, 33, 255, 256, 257, 1031}) {
      if (spec.n && n > 1) continue;
      for (uint32_t rows : {1, 2, 3}) {
        if (spec.rows && rows != *spec.rows) continue;
        for (Values values : kAllValues) {
          cases.push_back(
              AddCase(spec, BuildBiasAdd, spec.n.value_or(n), rows, values, Values::kNormal, seed));
        }
      }
    }
  }
  return cases;
}

FuzzFamily SiluFuzz() { return MakeFuzzFamily<MapFuzz<SiluSpec, BuildSilu, reference::Silu>>(); }
FuzzFamily GeluTanhFuzz() {
  return MakeFuzzFamily<MapFuzz<GeluTanhSpec, BuildGeluTanh, reference::GeluTanh>>();
}
FuzzFamily GeluErfFuzz() {
  return MakeFuzzFamily<MapFuzz<GeluErfSpec, BuildGeluErf, reference::GeluErf>>();
}
FuzzFamily MultiplyFuzz() {
  return MakeFuzzFamily<MapFuzz<MultiplySpec, BuildMultiply, reference::Multiply>>();
}
FuzzFamily SwigluFuzz() {
  return MakeFuzzFamily<MapFuzz<SwigluSpec, BuildSwiglu, reference::SwiGlu>>();
}
FuzzFamily GegluFuzz() {
  return MakeFuzzFamily<MapFuzz<GegluSpec, BuildGeglu, reference::GeGlu>>();
}
FuzzFamily SoftcapFuzz() {
  return MakeFuzzFamily<MapFuzz<SoftcapSpec, BuildSoftcap, reference::Softcap>>();
}
FuzzFamily ResidualAddFuzz() {
  return MakeFuzzFamily<AddFuzz<ResidualAddSpec, BuildResidualAdd, ElementSizes>>();
}
FuzzFamily BiasAddFuzz() { return MakeFuzzFamily<AddFuzz<BiasAddSpec, BuildBiasAdd, RowSizes>>(); }

}  // namespace ptxsmith
