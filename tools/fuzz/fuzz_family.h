// The part of a kernel family that the fuzzer needs: drawing a launch from the whole field space,
// reading one from text, and naming simpler ones. Everything derives from two lists of fields, the
// spec's own and `Sizes`: what a launch has besides, among it the value of every size that the spec
// may leave open, under the same name. A family brings a traits struct, in its FAMILY_cases.cc:
//
//   struct GemvFuzz {
//     using Spec = GemvSpec;
//     using Sizes = ProductSizes;                       // k, n
//     static void Fit(Spec& spec, Sizes& sizes);        // make fields that were drawn apart agree
//     static CaseMaker Make(const Spec&, const Sizes&, Values, uint64_t seed);
//   };
//   FuzzFamily GemvFuzz() { return MakeFuzzFamily<GemvFuzz>(); }
//
// Pure functions: the same generator state gives the same launch everywhere.
#ifndef PTXSMITH_TOOLS_FUZZ_FUZZ_FAMILY_H_
#define PTXSMITH_TOOLS_FUZZ_FUZZ_FAMILY_H_

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "codegen/spec_fields.h"
#include "codegen/status_macros.h"
#include "tools/fuzz/kernel_case.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {

// A launch as the command line takes it.
struct FuzzCase {
  std::string family;
  std::string fields;  // of the spec: "quant=q4_k,k=any,n=7"
  std::string sizes;   // those that `fields` does not tell: "k=256"
  Values values = Values::kNormal;
  uint64_t seed = 0;  // of the inputs
};

struct FuzzFamily {
  // Kernels may refuse what comes out.
  FuzzCase (*draw)(Rng& rng);
  // InvalidArgument says which field is wrong or which sizes do not fit.
  absl::StatusOr<CaseMaker> (*make)(const FuzzCase& launch);
  // Each with one field nearer to its default (choices) or its least value (sizes), simplest first.
  std::vector<FuzzCase> (*simpler)(const FuzzCase& launch);
};

namespace fuzz_internal {

uint32_t DrawNumber(const FieldRule& rule, Rng& rng);
// Allowed numbers below `value`, the least one first.
std::vector<uint32_t> LesserNumbers(const FieldRule& rule, uint32_t value);

template <class T>
T DrawField(const FieldRule& rule, const T& standard, Rng& rng) {
  if constexpr (spec_internal::OptionalOf<T>::value) {
    return rng.Below(2) == 0 ? T() : T(rule.min);  // whether it is known: the number is a size's
  } else if constexpr (std::is_same_v<T, bool>) {
    return rng.Below(2) == 1;
  } else if constexpr (std::is_same_v<T, float>) {
    const float choices[] = {standard, standard, 1e-6f, 0.125f, 1.0f, 30.0f};
    return choices[rng.Below(std::size(choices))];
  } else {
    return static_cast<T>(DrawNumber(rule, rng));
  }
}

template <class Record>
void DrawFields(Record& record, Rng& rng) {
  const Record standard;
  ForEachField<Record>([&](const auto& field) {
    record.*field.member = DrawField(field.rule, standard.*field.member, rng);
  });
}

// Calls visit(known, size) for each size that the spec may leave open.
template <class Spec, class Sizes, class F>
void ForEachOpenSize(Spec& spec, Sizes& sizes, F&& visit) {
  ForEachField<Spec>([&](const auto& field) {
    using T = std::remove_cvref_t<decltype(spec.*field.member)>;
    if constexpr (spec_internal::OptionalOf<T>::value) {
      ForEachField<Sizes>([&](const auto& size) {
        if (size.name == field.name) visit(spec.*field.member, sizes.*size.member);
      });
    }
  });
}

template <class Family>
struct Launch {
  typename Family::Spec spec;
  typename Family::Sizes sizes;

  void Fit() {
    Family::Fit(spec, sizes);
    ForEachOpenSize(spec, sizes, [](std::optional<uint32_t>& known, uint32_t size) {
      if (known) known = size;
    });
  }

  FuzzCase ToText(Values values, uint64_t seed) const {
    FuzzCase text{std::string(Family::Spec::kFamily), FieldsText(spec), "", values, seed};
    ForEachField<typename Family::Sizes>([&](const auto& size) {
      bool known = false;
      ForEachOpenSize(spec, sizes, [&](const std::optional<uint32_t>& value, const uint32_t& of) {
        if (&of == &(sizes.*size.member)) known = value.has_value();
      });
      if (known) return;
      absl::StrAppend(&text.sizes, text.sizes.empty() ? "" : ",", size.name, "=",
                      sizes.*size.member);
    });
    return text;
  }

  static absl::StatusOr<Launch> Parse(const FuzzCase& text) {
    Launch launch;
    PTXSMITH_ASSIGN_OR_RETURN(launch.spec, ParseFields<typename Family::Spec>(text.fields));
    PTXSMITH_ASSIGN_OR_RETURN(launch.sizes, ParseFields<typename Family::Sizes>(text.sizes));
    ForEachOpenSize(launch.spec, launch.sizes,
                    [](const std::optional<uint32_t>& known, uint32_t& size) {
                      if (known) size = *known;
                    });
    Launch fitted = launch;
    fitted.Fit();
    const FuzzCase given = launch.ToText(text.values, text.seed);
    const FuzzCase right = fitted.ToText(text.values, text.seed);
    if (given.fields == right.fields && given.sizes == right.sizes) return launch;
    return absl::InvalidArgumentError(absl::StrCat(text.family, ": ", given.fields, " with sizes ",
                                                   given.sizes, " is no case; the next one is ",
                                                   right.fields, " with sizes ", right.sizes));
  }
};

// Calls add() for each record that differs from `record` in one field and is simpler; add sees it
// in `record` itself.
template <class Record, class F>
void ForEachSimpler(Record& record, F&& add) {
  const Record standard;
  ForEachField<Record>([&](const auto& field) {
    using T = std::remove_cvref_t<decltype(record.*field.member)>;
    const T before = record.*field.member;
    const auto set = [&](const T& value) {
      record.*field.member = value;
      add();
      record.*field.member = before;
    };
    if constexpr (spec_internal::OptionalOf<T>::value) {
      if (before.has_value() != (standard.*field.member).has_value()) set(standard.*field.member);
    } else if (std::is_same_v<T, uint32_t> && field.rule.choice_count == 0) {
      for (uint32_t less : LesserNumbers(field.rule, static_cast<uint32_t>(before))) {
        set(static_cast<T>(less));
      }
    } else if (before != standard.*field.member) {
      set(standard.*field.member);
    }
  });
}

}  // namespace fuzz_internal

template <class Family>
FuzzFamily MakeFuzzFamily() {
  using Launch = fuzz_internal::Launch<Family>;
  FuzzFamily family;
  family.draw = [](Rng& rng) {
    Launch launch;
    fuzz_internal::DrawFields(launch.spec, rng);
    fuzz_internal::DrawFields(launch.sizes, rng);
    launch.Fit();
    const Values values = kFuzzValues[rng.Below(std::size(kFuzzValues))];
    return launch.ToText(values, rng.Below(UINT32_MAX));
  };
  family.make = [](const FuzzCase& text) -> absl::StatusOr<CaseMaker> {
    PTXSMITH_ASSIGN_OR_RETURN(const Launch launch, Launch::Parse(text));
    return Family::Make(launch.spec, launch.sizes, text.values, text.seed);
  };
  family.simpler = [](const FuzzCase& text) {
    std::vector<FuzzCase> result;
    const absl::StatusOr<Launch> parsed = Launch::Parse(text);
    if (!parsed.ok()) return result;
    Launch launch = *parsed;
    const auto add = [&] {
      Launch fitted = launch;
      fitted.Fit();
      FuzzCase simpler = fitted.ToText(text.values, text.seed);
      if (simpler.fields != text.fields || simpler.sizes != text.sizes) {
        result.push_back(std::move(simpler));
      }
    };
    fuzz_internal::ForEachSimpler(launch.sizes, add);
    fuzz_internal::ForEachSimpler(launch.spec, add);
    if (text.values != Values::kNormal) {
      result.push_back(launch.ToText(Values::kNormal, text.seed));
    }
    return result;
  };
  return family;
}

// What many families have besides their spec.
// A field brought into 1 to `max`; what is in it stays, as a case that is read back must.
inline void Limit(uint32_t& value, uint32_t max) {
  if (value == 0 || value > max) value = value % max + 1;
}

struct NoSizes {
  static constexpr absl::string_view kFamily = "sizes";
  static constexpr auto kFields = Fields();
};

struct ElementSizes {
  uint32_t n = 1;

  static constexpr absl::string_view kFamily = "sizes";
  static constexpr auto kFields = Fields(Field("n", &ElementSizes::n, AtLeast(1), "elements"));
};

struct RowSizes {
  uint32_t n = 1, rows = 1;

  static constexpr absl::string_view kFamily = "sizes";
  static constexpr auto kFields = Fields(Field("n", &RowSizes::n, AtLeast(1), "elements per row"),
                                         Field("rows", &RowSizes::rows, Between(1, 33), "rows"));
};

struct ProductSizes {
  uint32_t k = 32, n = 1;

  static constexpr absl::string_view kFamily = "sizes";
  static constexpr auto kFields =
      Fields(Field("k", &ProductSizes::k, AtLeast(32, 32), "weights per row"),
             Field("n", &ProductSizes::n, AtLeast(1), "rows"));
};

// What kernels over n elements have in common: the case of a spec, so many elements and inputs.
template <class SpecT>
using ElementCase = CaseMaker (*)(const SpecT& spec, uint32_t n, Values values, uint64_t seed);

template <class SpecT, ElementCase<SpecT> kCase>
struct ElementFuzz {
  using Spec = SpecT;
  using Sizes = ElementSizes;
  static void Fit(Spec&, Sizes&) {}
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    return kCase(spec, sizes.n, values, seed);
  }
};

// Every variant with all inputs: at its own size, or at each of `sizes` where it leaves that open.
template <class SpecT>
std::vector<CaseMaker> ElementCases(const std::vector<SpecT>& variants,
                                    const std::vector<uint32_t>& sizes, uint64_t seed,
                                    ElementCase<SpecT> make) {
  std::vector<CaseMaker> cases;
  for (const SpecT& spec : variants) {
    const std::vector<uint32_t> each = spec.n ? std::vector<uint32_t>{*spec.n} : sizes;
    for (const uint32_t n : each) {
      for (const Values values : kAllValues) cases.push_back(make(spec, n, values, seed));
    }
  }
  return cases;
}

// The next multiple: for Fit.
inline void RoundUp(uint32_t& value, uint32_t multiple_of) {
  value = (value + multiple_of - 1) / multiple_of * multiple_of;
}

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_FUZZ_FUZZ_FAMILY_H_
