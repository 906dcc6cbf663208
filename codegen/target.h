// What a kernel is generated for: an SM architecture and a floor for the PTX ISA version. Plain
// data without any CUDA header, so that text for any GPU can be made on any machine.
//
//   PTXSMITH_ASSIGN_OR_RETURN(Target t, Target::Parse("sm_90"));
//   t.ToString() == "sm_90.ptx78"
#ifndef PTXSMITH_CODEGEN_TARGET_H_
#define PTXSMITH_CODEGEN_TARGET_H_

#include <compare>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ptxsmith {

// A PTX ISA version, the operand of `.version`.
struct PtxVersion {
  int major = 0;
  int minor = 0;

  std::string ToString() const;  // "7.8"
  friend constexpr auto operator<=>(const PtxVersion&, const PtxVersion&) = default;
};

// Hard limits of one architecture (CUDA C++ Programming Guide, "Technical Specifications per
// Compute Capability"). Shared memory in bytes.
struct TargetLimits {
  uint32_t static_shared = 48 * 1024;  // per block, declared in the PTX text
  uint32_t max_shared = 48 * 1024;     // per block, with the dynamic opt-in
  uint32_t max_threads_per_block = 1024;
};

struct Target {
  int sm = 0;      // 75, 80, 86, 87, 89, 90, 100, 103, 120
  PtxVersion isa;  // least `.version` to print; features used by a kernel can raise it
  // "sm_90a": with the instructions that only GPUs of exactly this architecture have. Its text runs
  // on no later ones.
  bool specific = false;

  // Accepts "sm_90", "sm_90a" and "sm_90.ptx80" (also "sm90"). InvalidArgument names the text and
  // what is known.
  static absl::StatusOr<Target> Parse(absl::string_view text);
  // The target of an architecture with the least version that knows it. InvalidArgument if unknown.
  static absl::StatusOr<Target> ForSm(int sm);

  // The same architecture with what only GPUs of exactly it have: sm_90a of sm_90. InvalidArgument
  // where there is no such target.
  absl::StatusOr<Target> Specific() const;

  std::string sm_name() const;   // "sm_90" or "sm_90a", the operand of `.target`
  std::string ToString() const;  // "sm_90.ptx78", the tail of every cache key
  TargetLimits limits() const;

  friend constexpr bool operator==(const Target&, const Target&) = default;
};

// The least `.version` that accepts `.target sm_XY`, or sm_XYa; 0.0 for an unknown architecture.
PtxVersion MinPtxVersionForSm(int sm, bool specific = false);

// The newest `.version` a driver accepts, from cuDriverGetVersion's number (12040 is CUDA 12.4). A
// driver newer than the table gets the table's last row, which it accepts too; 0.0 before CUDA 8.
PtxVersion MaxPtxVersionForDriver(int cuda_version);

// The oldest driver that accepts a `.version`, as cuDriverGetVersion counts; 0 when the table has
// none.
int MinDriverForPtxVersion(PtxVersion version);

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_TARGET_H_
