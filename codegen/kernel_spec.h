// A finished kernel: its PTX text and everything the runtime may know about it. Produced by
// KernelBuilder::Finish(), consumed by Device::Load() and Bind(). Plain immutable data.
//
//   PTXSMITH_ASSIGN_OR_RETURN(KernelSpec gemv, BuildGemv(spec, target));
//   PTXSMITH_ASSIGN_OR_RETURN(auto module, device->Load(gemv));
#ifndef PTXSMITH_CODEGEN_KERNEL_SPEC_H_
#define PTXSMITH_CODEGEN_KERNEL_SPEC_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "codegen/size_expr.h"
#include "codegen/source_loc.h"
#include "codegen/target.h"

namespace ptxsmith {

// Element types as they lie in memory.
enum class ElemType : uint8_t { kU8, kS8, kU16, kS16, kF16, kBF16, kU32, kS32, kF32, kU64 };

// Size of one element in bytes.
constexpr uint32_t ByteSize(ElemType type) {
  switch (type) {
    case ElemType::kU8:
    case ElemType::kS8:
      return 1;
    case ElemType::kU16:
    case ElemType::kS16:
    case ElemType::kF16:
    case ElemType::kBF16:
      return 2;
    case ElemType::kU64:
      return 8;
    default:
      return 4;
  }
}

enum class ParamKind : uint8_t {
  kIn,      // pointer the kernel only reads
  kOut,     // pointer the kernel only writes; every element in range is written
  kInOut,   // pointer it reads and writes
  kScalar,  // 32-bit number
};

constexpr bool IsPointer(ParamKind kind) { return kind != ParamKind::kScalar; }

// One kernel parameter, in the order of the PTX signature.
struct ParamDesc {
  std::string name;
  ParamKind kind = ParamKind::kScalar;
  ElemType type = ElemType::kU32;
  uint32_t alignment = 1;    // pointers: bytes the address must be a multiple of
  SizeExpr count;            // pointers: elements the buffer must hold at least
  uint64_t multiple_of = 1;  // scalars of integer type: the value must be a multiple
};

struct LaunchRule {
  std::array<uint32_t, 3> block = {1, 1, 1};  // threads, printed as .reqntid
  std::array<SizeExpr, 3> grid = {SizeExpr(1), SizeExpr(1), SizeExpr(1)};  // blocks
  // Blocks that must fit on an SM, printed as .minnctapersm; 0 leaves the registers to ptxas, which
  // then may spill a few to reach a round number of blocks.
  uint32_t min_blocks_per_sm = 0;
  // Blocks may start while the kernel before them in the stream still runs. The kernel orders
  // itself: it executes griddepcontrol.wait before it touches what that kernel reads or writes.
  bool programmatic = false;
  // All blocks run at once, so that they may wait for each other; a grid that does not fit is
  // refused.
  bool cooperative = false;
};

// What a launch costs at least; read bandwidth and rates are derived from it.
struct Cost {
  SizeExpr bytes;  // global memory read and written, each byte once
  SizeExpr flops;
};

struct KernelSpec {
  std::string key;    // "gemv:quant=q4_k,k=4096,...@sm_90.ptx78": identifies the text completely
  std::string entry;  // the name of the .entry, which is the family name
  std::string ptx;    // NUL-free text
  Target target;
  PtxVersion version;             // the `.version` printed
  std::string version_needed_by;  // the instruction or target that asks for it: "elect.sync"
  std::vector<ParamDesc> params;
  LaunchRule launch;
  uint32_t static_shared = 0;   // bytes declared in the text
  uint32_t dynamic_shared = 0;  // bytes to ask for at launch, on top of static_shared
  Cost cost;
  // lines[i] is the C++ source that emitted line i + 1 of `ptx`; line 0 inside means none.
  std::vector<SourceLoc> lines;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_KERNEL_SPEC_H_
