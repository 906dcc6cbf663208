// Runs one PTX instruction on 32 lanes of chosen inputs, on every compilation of the emulator's
// inner loop that this CPU can run, and returns the results. Used by the tests of single
// instructions.
//
//   ASSERT_OK_AND_ASSIGN(auto got, RunOp({"add.u32", "www"}, {{1, 2}, {3, 4}}));
//   EXPECT_EQ(got[1], 6u);
#ifndef PTXSMITH_TESTS_EMU_OP_RUNNER_H_
#define PTXSMITH_TESTS_EMU_OP_RUNNER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/emu/emulator.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith::emu {

// `codes` names the widths of the destination and then of each source: 'b' 8 and 'h' 16 bits in
// registers of 16, 'w' 32, 'd' 64, 'p' predicate. `tail` is appended to the operands: ", 0x96".
struct OpText {
  std::string mnemonic;
  std::string codes;
  std::string tail;
};

// sources[s][lane]; missing lanes repeat the first ones. All of one warp.
absl::StatusOr<std::vector<uint64_t>> RunOp(const OpText& op,
                                            const std::vector<std::vector<uint64_t>>& sources);

// The compilations this CPU can run, the plain one first.
std::vector<const Backend*> RunnableBackends();

// A whole module around `body`, which may use: %d1..%d3 addresses of buffers a, b, c; %r0 the
// thread's index in its block; %r1 a number; registers %p<16>, %h<16>, %r<64>, %f<32>, %d<32>,
// %g<16> (f64). `globals` goes before the entry, named "kernel".
std::string Module(const std::string& body, const std::string& globals = "");

// A run of Module text: buffers a, b, c of these sizes; `a` and `c` are uploaded when given bytes,
// `b` is output.
struct KernelRun {
  std::string text;
  std::array<uint32_t, 3> grid = {1, 1, 1};
  std::array<uint32_t, 3> block = {32, 1, 1};
  uint32_t dynamic_shared = 0;
  std::vector<uint32_t> a, c;  // uploaded if not empty; else 256 undefined bytes
  size_t b_words = 256;        // output, undefined at first
  bool clear_b = false;
  uint32_t number = 0;
  int threads = 1;
  LaunchOptions options;
};
struct KernelResult {
  std::vector<uint32_t> b;  // words nobody wrote are 0xdeadbeef
  LaunchStats stats;
};
absl::StatusOr<KernelResult> RunKernel(const KernelRun& run,
                                       const Backend& backend = BestBackend());

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_TESTS_EMU_OP_RUNNER_H_
