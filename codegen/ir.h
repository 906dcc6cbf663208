// What KernelBuilder records: a flat list of instructions in which If and For appear as bracketing
// markers. The verifier and the printer walk it in order. Plain data, no behaviour.
//
// Invariants:
//  1. Markers nest: If [Else] EndIf, Loop EndLoop, Repeat EndRepeat.
//  2. Every register is written before any use in list order, except loop variables and Vars, which
//  are
//     written where they are created.
#ifndef PTXSMITH_CODEGEN_IR_H_
#define PTXSMITH_CODEGEN_IR_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "codegen/kernel_spec.h"
#include "codegen/source_loc.h"
#include "codegen/type.h"

namespace ptxsmith {
class Recorder;
}

namespace ptxsmith::ir {

// How many threads are known to hold the same value, or to take the same way.
enum class Uniformity : uint8_t { kCta, kWarp, kLane };

using RegId = uint32_t;

struct Reg {
  RegClass cls = RegClass::kB32;
  uint32_t number = 0;    // %r<number>, counted per class
  uint32_t region = 0;    // the scope it was created in
  bool mutable_ = false;  // a Var: written more than once
};

struct Operand {
  enum Kind : uint8_t { kNone, kReg, kInt, kFloat, kText };
  Kind kind = kNone;
  bool address = false;  // kReg: printed as [reg + bits], bits being signed bytes
  RegId reg = 0;
  union {
    uint64_t bits = 0;  // kInt: the value, sign-extended; kFloat: the f32's bits; kReg: see address
    const char* text;   // kText: a special register or symbol, static or owned by the kernel
  };
  const Recorder* owner = nullptr;  // kReg: the kernel it belongs to
};

enum class Op : uint8_t {
  kPlain,    // mnemonic dst, src...
  kLoad,     // mnemonic {dst...}, [src0 + offset]
  kStore,    // mnemonic [src0 + offset], {src1...}
  kBarrier,  // whole block
  kWarp,     // all lanes of the warp take part: shfl, vote, mma
  kIf,       // src0: predicate
  kElse,
  kEndIf,
  kLoop,       // dst0: variable, dst1: predicate; src0: begin, src1: end
  kEndLoop,    // src0: variable, src1: step, src2: end
  kRepeat,     // dst0: stands for the condition in the analysis of uniformity; never printed
  kEndRepeat,  // dst0: the same; src0: predicate, again while it holds
};

// A mnemonic of the kernel, and where it is used first. A kernel has a few dozen of them for
// thousands of instructions.
struct Mnemonic {
  std::string text;
  SourceLoc loc;
};

// The lists lie within the instruction while they have a usual length: separate blocks of memory
// took most of the time of recording a kernel.
struct Instr {
  Instr() {}  // NOLINT(modernize-use-equals-default): that one has all bytes zeroed before

  Op op = Op::kPlain;
  bool guard = false;                  // kLoop: the body may run zero times
  bool has_forced_uniformity = false;  // `forced` replaces what the operands imply
  Uniformity forced = Uniformity::kLane;
  uint32_t mnemonic = 0;  // index into Kernel::mnemonics; brackets have the empty one
  absl::InlinedVector<RegId, 4> dst;
  absl::InlinedVector<Operand, 3> src;
  // Sizes of the brace lists that the first sources are printed in, up to the first 0; those after
  // them stand alone.
  std::array<uint8_t, 3> groups = {};
  int64_t offset = 0;  // memory: bytes added to the address
  SourceLoc loc;
};

inline constexpr uint32_t kSharedAlignment = 16;

// Arrays are laid out one after the other.
struct SharedArray {
  std::string name;
  uint32_t bytes = 0;  // a multiple of kSharedAlignment
  uint32_t alignment = kSharedAlignment;
};

struct Kernel {
  std::string key;
  std::string entry;
  Target target;
  std::vector<ParamDesc> params;
  LaunchRule launch;
  std::vector<SharedArray> shared;
  std::vector<Reg> regs;
  std::vector<Mnemonic> mnemonics;  // each once, in the order of their first use
  std::vector<Instr> body;
  Cost cost;
};

}  // namespace ptxsmith::ir

#endif  // PTXSMITH_CODEGEN_IR_H_
