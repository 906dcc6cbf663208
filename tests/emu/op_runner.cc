#include "tests/emu/op_runner.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith::emu {
namespace {

constexpr char kHeader[] = ".version 8.6\n.target sm_90\n.address_size 64\n";

int Bytes(char code) { return code == 'd' ? 8 : 4; }
std::string Register(char code, size_t i) {
  const char* prefix = code == 'd' ? "%d" : code == 'p' ? "%p" : code == 'w' ? "%r" : "%h";
  return absl::StrCat(prefix, 10 + i);
}

// Loads source `i` of this lane into its register; every source has a slot of 8 bytes per lane.
std::string LoadSource(char code, size_t i) {
  const std::string reg = Register(code, i);
  const std::string from = absl::StrCat("[%d4+", 256 * i, "];\n");
  if (code == 'd') return absl::StrCat("ld.global.u64 ", reg, ", ", from);
  if (code == 'w') return absl::StrCat("ld.global.u32 ", reg, ", ", from);
  if (code == 'p') {
    return absl::StrCat("ld.global.u32 %r50, ", from, "setp.ne.u32 ", reg, ", %r50, 0;\n");
  }
  return absl::StrCat("ld.global.u16 ", reg, ", ", from);
}

std::string OpModule(const OpText& op) {
  std::string body = "mul.wide.u32 %d5, %r0, 8;\nadd.u64 %d4, %d1, %d5;\nadd.u64 %d6, %d2, %d5;\n";
  std::string operands = Register(op.codes[0], 0);
  for (size_t i = 1; i < op.codes.size(); ++i) {
    absl::StrAppend(&body, LoadSource(op.codes[i], i));
    absl::StrAppend(&operands, ", ", Register(op.codes[i], i));
  }
  absl::StrAppend(&body, op.mnemonic, " ", operands, op.tail, ";\n");
  const std::string result = Register(op.codes[0], 0);
  switch (op.codes[0]) {
    case 'd':
      absl::StrAppend(&body, "st.global.u64 [%d6], ", result, ";\n");
      break;
    case 'w':
      absl::StrAppend(&body, "cvt.u64.u32 %d7, ", result, ";\nst.global.u64 [%d6], %d7;\n");
      break;
    case 'p':
      absl::StrAppend(&body, "selp.u64 %d7, 1, 0, ", result, ";\nst.global.u64 [%d6], %d7;\n");
      break;
    default:
      absl::StrAppend(&body, "cvt.u64.u16 %d7, ", result, ";\nst.global.u64 [%d6], %d7;\n");
      break;
  }
  return Module(body);
}

}  // namespace

std::string Module(const std::string& body, const std::string& globals) {
  return absl::StrCat(kHeader, globals, R"(
.visible .entry kernel(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u32 pn)
{
.reg .pred %p<16>;
.reg .b16 %h<16>;
.reg .b32 %r<64>;
.reg .f32 %f<32>;
.reg .b64 %d<32>;
.reg .f64 %g<16>;
ld.param.u64 %d1, [pa];
ld.param.u64 %d2, [pb];
ld.param.u64 %d3, [pc];
ld.param.u32 %r1, [pn];
mov.u32 %r0, %tid.x;
)",
                      body, "\nret;\n}\n");
}

std::vector<const Backend*> RunnableBackends() {
  std::vector<const Backend*> list = {&BaselineBackend()};
  if (&BestBackend() == &V3Backend() || &BestBackend() == &V4Backend()) {
    list.push_back(&V3Backend());
  }
  if (&BestBackend() == &V4Backend()) list.push_back(&V4Backend());
  return list;
}

absl::StatusOr<KernelResult> RunKernel(const KernelRun& run, const Backend& backend) {
  PTXSMITH_ASSIGN_OR_RETURN(const auto program, ParseProgram(run.text, backend));
  Memory memory;
  Emulator emulator(run.threads);
  uint64_t address[3];
  const std::vector<uint32_t>* inputs[] = {&run.a, nullptr, &run.c};
  const char* names[] = {"a", "b", "c"};
  for (int i = 0; i < 3; ++i) {
    const size_t bytes = inputs[i] == nullptr ? 4 * run.b_words
                         : inputs[i]->empty() ? 256
                                              : 4 * inputs[i]->size();
    PTXSMITH_ASSIGN_OR_RETURN(address[i], memory.Allocate(bytes, names[i]));
    if (inputs[i] != nullptr && !inputs[i]->empty()) {
      PTXSMITH_RETURN_IF_ERROR(memory.Write(address[i], inputs[i]->data(), bytes));
    }
  }
  if (run.clear_b) PTXSMITH_RETURN_IF_ERROR(memory.Fill(address[1], 0, 4 * run.b_words));
  uint32_t number = run.number;
  void* params[] = {&address[0], &address[1], &address[2], &number};
  LaunchConfig config;
  config.grid = run.grid;
  config.block = run.block;
  config.dynamic_shared = run.dynamic_shared;
  config.params = params;
  KernelResult result;
  PTXSMITH_ASSIGN_OR_RETURN(result.stats,
                            emulator.Launch(program, "kernel", config, memory, run.options));
  result.b.assign(run.b_words, 0xdeadbeef);
  for (size_t i = 0; i < run.b_words; ++i) {
    uint32_t word = 0;
    if (memory.Read(address[1] + 4 * i, &word, 4).ok()) result.b[i] = word;
  }
  return result;
}

absl::StatusOr<std::vector<uint64_t>> RunOp(const OpText& op,
                                            const std::vector<std::vector<uint64_t>>& sources) {
  KernelRun run;
  run.text = OpModule(op);
  run.a.assign(64 * op.codes.size(), 0);
  run.b_words = 64;
  for (size_t s = 0; s < sources.size(); ++s) {
    for (size_t lane = 0; lane < 32; ++lane) {
      const uint64_t value = sources[s][lane % sources[s].size()];
      std::memcpy(&run.a[64 * (s + 1) + 2 * lane], &value, Bytes(op.codes[s + 1]));
    }
  }
  std::vector<uint64_t> first;
  for (const Backend* backend : RunnableBackends()) {
    PTXSMITH_ASSIGN_OR_RETURN(const KernelResult result, RunKernel(run, *backend));
    std::vector<uint64_t> lanes(32);
    std::memcpy(lanes.data(), result.b.data(), 256);
    if (first.empty()) first = lanes;
    for (size_t lane = 0; lane < 32; ++lane) {
      if (lanes[lane] == first[lane]) continue;
      return absl::InternalError(absl::StrCat(
          op.mnemonic, " lane ", lane, ": ", backend->name, " gives 0x", absl::Hex(lanes[lane]),
          ", ", BaselineBackend().name, " 0x", absl::Hex(first[lane])));
    }
  }
  return first;
}

}  // namespace ptxsmith::emu
