#include "codegen/negotiate.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "codegen/features.h"

namespace ptxsmith {
namespace {

// "CUDA 12.4"
std::string CudaRelease(int driver_version) {
  return absl::StrFormat("CUDA %d.%d", driver_version / 1000, driver_version % 1000 / 10);
}

}  // namespace

absl::StatusOr<Target> NewestTarget(const Platform& platform) {
  const PtxVersion newest = MaxPtxVersionForDriver(platform.driver_version);
  for (int sm = platform.capability; sm > 0; --sm) {
    absl::StatusOr<Target> target = Target::ForSm(sm);
    if (target.ok() && target->isa <= newest) return target;
  }
  return absl::FailedPreconditionError(
      absl::StrCat(platform.name, " is sm_", platform.capability, " with a driver for ",
                   CudaRelease(platform.driver_version), " (PTX up to ", newest.ToString(),
                   "), which is older than anything kernels can be generated for"));
}

NeededVersion LeastVersion(const Target& target, absl::Span<const absl::string_view> mnemonics) {
  NeededVersion needed{target.isa, target.sm_name()};
  const PtxVersion of_target = MinPtxVersionForSm(target.sm, target.specific);
  if (of_target > needed.version) needed.version = of_target;
  for (const absl::string_view mnemonic : mnemonics) {
    const Feature feature = FeatureOf(mnemonic);
    if (feature.min_version <= needed.version) continue;
    needed.version = feature.min_version;
    needed.needed_by = std::string(feature.prefix);
  }
  return needed;
}

absl::Status CheckText(const Platform& platform, const Target& target,
                       const NeededVersion& needed) {
  if (target.specific ? target.sm != platform.capability : target.sm > platform.capability) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the text is for ", target.sm_name(), "; ", platform.name, " is sm_", platform.capability));
  }
  const PtxVersion newest = MaxPtxVersionForDriver(platform.driver_version);
  if (needed.version <= newest) return absl::OkStatus();
  const int release = MinDriverForPtxVersion(needed.version);
  return absl::FailedPreconditionError(absl::StrCat(
      needed.needed_by.empty() ? "the text" : needed.needed_by, " needs PTX ",
      needed.version.ToString(), ", which takes a driver for ",
      release == 0 ? "a CUDA not known yet" : absl::StrCat(CudaRelease(release), " or newer"),
      "; the driver of ", platform.name, " is for ", CudaRelease(platform.driver_version),
      " (PTX up to ", newest.ToString(), ")"));
}

}  // namespace ptxsmith
