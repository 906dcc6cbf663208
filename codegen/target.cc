#include "codegen/target.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

struct SmRow {
  int sm;
  PtxVersion min_version;
  uint32_t max_shared_kib;
  PtxVersion min_specific;  // of sm_XYa; 0.0: there is none
};

// `.version` as ptxas 13.0 accepts it, except sm_88 and sm_110 where the release notes ask for 9.0.
constexpr SmRow kSmTable[] = {
    {61, {5, 0}, 48},           {70, {6, 0}, 96},           {72, {6, 1}, 96},
    {75, {6, 3}, 64},           {80, {7, 0}, 163},          {86, {7, 1}, 99},
    {87, {7, 4}, 163},          {89, {7, 8}, 99},           {90, {7, 8}, 227, {8, 0}},
    {100, {8, 6}, 227, {8, 6}}, {103, {8, 8}, 227, {8, 8}}, {110, {9, 0}, 227, {9, 0}},
    {120, {8, 7}, 99, {8, 7}},  {121, {8, 8}, 99, {8, 8}},
};

struct DriverRow {
  int cuda_version;
  PtxVersion max_version;
};

// PTX ISA manual, "Release Notes": the ISA of each CUDA release. 12.5 and 12.6 share 8.5.
constexpr DriverRow kDriverTable[] = {
    {8000, {5, 0}},  {9000, {6, 0}},  {9010, {6, 1}},  {9020, {6, 2}},  {10000, {6, 3}},
    {10010, {6, 4}}, {10020, {6, 5}}, {11000, {7, 0}}, {11010, {7, 1}}, {11020, {7, 2}},
    {11030, {7, 3}}, {11040, {7, 4}}, {11050, {7, 5}}, {11060, {7, 6}}, {11070, {7, 7}},
    {11080, {7, 8}}, {12000, {8, 0}}, {12010, {8, 1}}, {12020, {8, 2}}, {12030, {8, 3}},
    {12040, {8, 4}}, {12050, {8, 5}}, {12060, {8, 5}}, {12070, {8, 6}}, {12080, {8, 7}},
    {12090, {8, 8}}, {13000, {9, 0}}, {13010, {9, 1}}, {13020, {9, 2}}, {13030, {9, 3}},
    {13040, {9, 4}},
};

const SmRow* FindSm(int sm) {
  const auto* row = std::find_if(std::begin(kSmTable), std::end(kSmTable),
                                 [&](const SmRow& r) { return r.sm == sm; });
  return row == std::end(kSmTable) ? nullptr : row;
}

absl::Status UnknownTarget(absl::string_view text) {
  std::vector<std::string> known;
  for (const SmRow& row : kSmTable) {
    known.push_back(absl::StrCat("sm_", row.sm));
    if (row.min_specific != PtxVersion{}) known.push_back(absl::StrCat("sm_", row.sm, "a"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown target '", text, "'; known: ", absl::StrJoin(known, ", ")));
}

}  // namespace

std::string PtxVersion::ToString() const { return absl::StrCat(major, ".", minor); }

PtxVersion MinPtxVersionForSm(int sm, bool specific) {
  const SmRow* row = FindSm(sm);
  if (row == nullptr) return PtxVersion{};
  return specific ? row->min_specific : row->min_version;
}

PtxVersion MaxPtxVersionForDriver(int cuda_version) {
  PtxVersion version;
  for (const DriverRow& row : kDriverTable) {
    if (row.cuda_version <= cuda_version) version = row.max_version;
  }
  return version;
}

int MinDriverForPtxVersion(PtxVersion version) {
  for (const DriverRow& row : kDriverTable) {
    if (row.max_version >= version) return row.cuda_version;
  }
  return 0;
}

absl::StatusOr<Target> Target::ForSm(int sm) {
  const SmRow* row = FindSm(sm);
  if (row == nullptr) return UnknownTarget(absl::StrCat("sm_", sm));
  return Target{sm, row->min_version};
}

absl::StatusOr<Target> Target::Parse(absl::string_view text) {
  absl::string_view rest = text;
  if (rest.substr(0, 2) != "sm") return UnknownTarget(text);
  rest.remove_prefix(2);
  if (!rest.empty() && rest[0] == '_') rest.remove_prefix(1);
  const size_t dot = rest.find('.');
  absl::string_view digits = rest.substr(0, dot);
  const bool specific = absl::ConsumeSuffix(&digits, "a");
  int sm = 0;
  if (!absl::SimpleAtoi(digits, &sm) || MinPtxVersionForSm(sm, specific) == PtxVersion{}) {
    return UnknownTarget(text);
  }
  Target target{sm, MinPtxVersionForSm(sm, specific), specific};
  if (dot == absl::string_view::npos) return target;
  absl::string_view isa = rest.substr(dot + 1);
  int number = 0;
  if (isa.substr(0, 3) != "ptx" || !absl::SimpleAtoi(isa.substr(3), &number) || number < 10 ||
      number > 99) {
    return absl::InvalidArgumentError(
        absl::StrCat("target '", text, "': expected a PTX version such as ptx78 after the dot"));
  }
  const PtxVersion version{number / 10, number % 10};
  if (version < target.isa) {
    return absl::InvalidArgumentError(absl::StrCat("target '", text, "': ", target.sm_name(),
                                                   " needs PTX ", target.isa.ToString(),
                                                   " or newer"));
  }
  target.isa = version;
  return target;
}

absl::StatusOr<Target> Target::Specific() const {
  const PtxVersion version = MinPtxVersionForSm(sm, /*specific=*/true);
  if (version == PtxVersion{}) return UnknownTarget(absl::StrCat("sm_", sm, "a"));
  return Target{sm, std::max(isa, version), /*specific=*/true};
}

std::string Target::sm_name() const { return absl::StrCat("sm_", sm, specific ? "a" : ""); }

std::string Target::ToString() const {
  return absl::StrCat(sm_name(), ".ptx", isa.major, isa.minor);
}

TargetLimits Target::limits() const {
  TargetLimits limits;
  if (const SmRow* row = FindSm(sm)) limits.max_shared = row->max_shared_kib * 1024;
  return limits;
}

}  // namespace ptxsmith
