// Do the kernel tests notice mistakes? Mutants of the PTX of a kernel of every kind run on the
// emulator with the inputs of that kernel's test. A mutant is
//   killed      when the emulator reports a fault or a result is outside the reference's bound (two
//               columns of the table);
//   equivalent  when it gives the bits of the original for these inputs and for two more seeds of
//               them (a dropped barrier never is);
//   survived    otherwise.
// At least 95 % of those that are not equivalent must be killed, 90 % of each family (some have few
// mutants; decode_token 80 %: it is a whole model, of which logits are compared by their norm), and
// every dropped barrier, for which random schedules help. Every family of the
// registry is there with a kernel at least.

#include <algorithm>
#include <atomic>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"
#include "ptx_templates/absmax.h"
#include "ptx_templates/advance.h"
#include "ptx_templates/argmax.h"
#include "ptx_templates/attention.h"
#include "ptx_templates/convert.h"
#include "ptx_templates/dequantize.h"
#include "ptx_templates/elementwise.h"
#include "ptx_templates/embed_row.h"
#include "ptx_templates/gate_up.h"
#include "ptx_templates/gemm.h"
#include "ptx_templates/gemv.h"
#include "ptx_templates/gemv_multi.h"
#include "ptx_templates/gemv_norm.h"
#include "ptx_templates/gemv_q8_1.h"
#include "ptx_templates/kv_append.h"
#include "ptx_templates/kv_shift.h"
#include "ptx_templates/layer_norm.h"
#include "ptx_templates/quantize_e4m3.h"
#include "ptx_templates/quantize_q8_1.h"
#include "ptx_templates/registry.h"
#include "ptx_templates/rms_norm.h"
#include "ptx_templates/rope.h"
#include "ptx_templates/softmax.h"
#include "ptx_templates/tiles/decode_token.h"
#include "ptx_templates/top_k.h"
#include "runtime/emu/emulator.h"
#include "tests/mutation/mutate.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/kernel_cases.h"

namespace ptxsmith {
namespace {

// What a kernel is worth.
struct Effort {
  size_t mutants = 6;      // of a kind
  bool barriers = true;    // also those without a barrier
  uint64_t patience = 10;  // times the original's instructions, until a mutant waits for ever
};

// Kernels with bulk copies wait on a ring: they take the emulator up to 0.2 s a run, and many
// mutants wait for ever. They keep their barriers: most order the lanes of a warp before one of
// them hands a slot back, and the emulator runs lanes that have not parted at once, so that no
// schedule shows the lack.
Effort EffortOf(const KernelSpec& spec) {
  const bool ring = absl::StrContains(spec.ptx, "cp.async.bulk");
  return ring ? Effort{.mutants = 5, .barriers = false, .patience = 2} : Effort();
}

// A text on the emulator, with the case's arguments.
struct Outcome {
  std::vector<Bytes> after;
  uint64_t instructions = 0;
};
absl::StatusOr<Outcome> RunText(emu::Emulator& emulator,
                                const std::shared_ptr<const emu::Program>& program,
                                const KernelSpec& spec, const KernelCase& test,
                                const emu::LaunchOptions& options) {
  emu::Memory memory;
  std::vector<uint64_t> values;
  for (size_t i = 0; i < test.args.size(); ++i) {
    if (const auto* number = std::get_if<uint32_t>(&test.args[i])) {
      values.push_back(*number);
      continue;
    }
    if (const auto* same = std::get_if<SameAs>(&test.args[i])) {
      // A second name for a buffer that comes later in the list.
      return absl::UnimplementedError(absl::StrCat("argument ", same->arg, " is used twice"));
    }
    const Bytes& bytes = *std::get_if<Bytes>(&test.args[i]);
    PTXSMITH_ASSIGN_OR_RETURN(const uint64_t address,
                              memory.Allocate(bytes.size(), spec.params[i].name));
    if (spec.params[i].kind == ParamKind::kOut) {
      PTXSMITH_RETURN_IF_ERROR(memory.Fill(address, kPoison, bytes.size()));
    } else {
      PTXSMITH_RETURN_IF_ERROR(memory.Write(address, bytes.data(), bytes.size()));
    }
    values.push_back(address);
  }
  std::vector<void*> pointers;
  for (uint64_t& value : values) pointers.push_back(&value);
  emu::LaunchConfig config;
  config.block = spec.launch.block;
  config.dynamic_shared = spec.dynamic_shared;
  config.programmatic = spec.launch.programmatic;
  config.cooperative = spec.launch.cooperative;
  config.params = pointers.data();
  config.dynamic_shared = spec.dynamic_shared;
  config.cooperative = spec.launch.cooperative;
  for (size_t d = 0; d < 3; ++d) {
    PTXSMITH_ASSIGN_OR_RETURN(const uint64_t blocks, spec.launch.grid[d].Evaluate(values));
    config.grid[d] = static_cast<uint32_t>(blocks);
  }
  PTXSMITH_ASSIGN_OR_RETURN(const emu::LaunchStats stats,
                            emulator.Launch(program, spec.entry, config, memory, options));
  Outcome outcome;
  outcome.instructions = stats.instructions;
  for (size_t i = 0; i < test.args.size(); ++i) {
    Bytes& after = outcome.after.emplace_back();
    const auto* before = std::get_if<Bytes>(&test.args[i]);
    if (before == nullptr) continue;
    after.resize(before->size());
    PTXSMITH_RETURN_IF_ERROR(memory.Read(values[i], after.data(), after.size()));
    if (spec.params[i].kind == ParamKind::kIn && after != *before) {
      return absl::DataLossError(absl::StrCat("'", spec.params[i].name, "' was written"));
    }
  }
  return outcome;
}

// A kernel with its inputs and what the unchanged text makes of them.
struct Subject {
  std::string name;
  KernelSpec spec;
  struct Input {
    KernelCase test;
    Outcome original;
  };
  std::vector<Input> inputs;
  size_t in_test = 0;  // the first ones are those of the kernel's test
};

absl::StatusOr<Subject> MakeSubject(absl::string_view family, const std::string& fields) {
  Subject subject;
  subject.name = absl::StrCat(family, ":", fields);
  emu::Emulator emulator(1);
  for (uint64_t seed : {1, 2, 3}) {
    for (const CaseFamily& cases : AllCaseFamilies()) {
      if (cases.name != family) continue;
      for (const CaseMaker& maker : cases.cases(seed)) {
        if (maker.fields != fields) continue;
        KernelCase test = maker.make();
        const bool twice = std::any_of(test.args.begin(), test.args.end(), [](const HostArg& arg) {
          return std::holds_alternative<SameAs>(arg);
        });
        if (!twice) subject.inputs.push_back({std::move(test), {}});
      }
    }
    if (seed == 1) subject.in_test = subject.inputs.size();
  }
  if (subject.in_test == 0) return absl::NotFoundError(absl::StrCat("no cases: ", subject.name));
  PTXSMITH_ASSIGN_OR_RETURN(const Target target, Target::ForSm(90));
  PTXSMITH_ASSIGN_OR_RETURN(subject.spec, subject.inputs[0].test.build(target));
  PTXSMITH_ASSIGN_OR_RETURN(const auto program, emu::ParseProgram(subject.spec.ptx));
  for (Subject::Input& input : subject.inputs) {
    PTXSMITH_ASSIGN_OR_RETURN(input.original,
                              RunText(emulator, program, subject.spec, input.test, {}));
    if (!input.test.check(input.original.after)) {
      return absl::InternalError(absl::StrCat(subject.name, ": wrong as it is"));
    }
  }
  return subject;
}

enum class Fate { kInvalid, kEquivalent, kFault, kWrongResult, kSurvived };

Fate FateOf(emu::Emulator& emulator, const Subject& subject, const Mutant& mutant) {
  const auto program = emu::ParseProgram(Apply(subject.spec.ptx, mutant));
  if (!program.ok()) return Fate::kInvalid;  // no compiler would take it: nobody has to notice
  const uint64_t patience = EffortOf(subject.spec).patience;
  bool same_bits = true;
  for (size_t i = 0; i < subject.inputs.size(); ++i) {
    const Subject::Input& input = subject.inputs[i];
    emu::LaunchOptions options;
    options.instruction_budget = patience * input.original.instructions + 10000;
    absl::StatusOr<Outcome> outcome;
    bool noticed = false;
    // What a barrier is for may need another order of the threads to show.
    const uint64_t schedules = mutant.kind == kDropBarrier ? 200 : 1;
    for (; options.schedule_seed < schedules && !noticed; ++options.schedule_seed) {
      outcome = RunText(emulator, *program, subject.spec, input.test, options);
      noticed = !outcome.ok() || !input.test.check(outcome->after);
    }
    if (noticed && i < subject.in_test) return outcome.ok() ? Fate::kWrongResult : Fate::kFault;
    if (noticed || outcome->after != input.original.after) same_bits = false;
    if (!same_bits && i >= subject.in_test) break;
  }
  return same_bits && mutant.kind != kDropBarrier ? Fate::kEquivalent : Fate::kSurvived;
}

template <class Spec>
std::pair<absl::string_view, std::string> Kernel(const Spec& spec) {
  return {Spec::kFamily, FieldsText(spec)};
}

// One variant of each kernel, small enough to run thousands of times and with loops, tails and
// several warps; the variants are those of the kernel tests.
std::vector<std::pair<absl::string_view, std::string>> Kernels() {
  std::vector<std::pair<absl::string_view, std::string>> kernels;
  for (const Decoder& decoder : AllDecoders()) {
    kernels.push_back(Kernel(GemvSpec{decoder.type, decoder.chunk_weights * 9, 33, 4, 2}));
    kernels.push_back(Kernel(EmbedRowSpec{decoder.type, decoder.chunk_weights * 9, 7, 3}));
  }
  using enum QuantType;
  kernels.push_back(Kernel(GemvSpec{kQ8_0, 288, 5, 2, 1, 3, 2, 0, true, true}));
  kernels.push_back(Kernel(GemvSpec{kQ8_0, 2304, 7, 4, 1, 1, 2, 512}));
  kernels.push_back(Kernel(GemvQ8_1Spec{kQ4K, 2304, 5, 2, 2, 3, 2, true, true}));
  kernels.push_back(Kernel(GemvQ8_1Spec{kQ5_0, 288, 5, 2, 2, 3, 2, true, true}));
  kernels.push_back(Kernel(GemvNormSpec{kQ4_0, 288, 5, 1e-6f, 2, 1, 3, 2, 0, true, true}));
  kernels.push_back(
      Kernel(GemvMultiSpec{kQ8_0, kF32, 288, 7, 3, 2, 3, 4, 1, 1, 1, 0, false, 1e-5f, true}));
  kernels.push_back(Kernel(GateUpSpec{kQ4_0, kF32, 288, 5, 4, 1, 3, 2}));
  kernels.push_back(Kernel(GemmSpec{kQ8_0, 288, 19, 9, 16, 2}));
  kernels.push_back(Kernel(QuantizeQ8_1Spec{1056, 64}));
  kernels.push_back(Kernel(DequantizeSpec{kQ4_1, kF16, 288, 5, 2}));
  kernels.push_back(Kernel(RmsNormSpec{1000, 3, 1e-6f, 128}));
  kernels.push_back(Kernel(RmsNormSpec{std::nullopt, std::nullopt, 1e-5f, 256}));
  kernels.push_back(Kernel(AttentionSpec{4, 2, 32, 64, 4}));
  kernels.push_back(Kernel(AttentionSpec{4, 2, 64, 64, 4}));
  kernels.push_back(Kernel(ArgmaxSpec{1000, 128}));
  kernels.push_back(Kernel(AdvanceSpec{33, 4}));
  kernels.push_back(Kernel(RopeSpec{RopePairing::kAdjacent, 3, 80, 32, 2}));
  kernels.push_back(Kernel(RopeSpec{RopePairing::kHalfSplit, 2, 64, 64, std::nullopt}));
  kernels.push_back(Kernel(KvAppendSpec{1, 80, 100, 3}));
  kernels.push_back(Kernel(SwigluSpec{1000, 64}));
  kernels.push_back(Kernel(ResidualAddSpec{1000, 64}));
  kernels.push_back(Kernel(RmsNormSpec{1000, 3, 1e-5f, 128, true}));
  kernels.push_back(Kernel(LayerNormSpec{1000, 3, 1e-5f, 256}));
  kernels.push_back(Kernel(SoftmaxSpec{129, 2, -2.5f, 128}));
  kernels.push_back(Kernel(AttentionSpec{4, 2, 80, 64, 4}));
  for (const AttentionSpec& spec : AttentionVariants()) {
    // Batches, prompts, and each of the other fields.
    if (spec.context == 65u || !spec.slots) kernels.push_back(Kernel(spec));
  }
  kernels.push_back(Kernel(AttentionCombineSpec{3, 80, 8, 2}));
  kernels.push_back(Kernel(KvAppendSpec{3, 96, 33, 3, QuantType::kQ8_0, 4}));
  kernels.push_back(Kernel(KvShiftVariants()[2]));
  kernels.push_back(Kernel(KvShiftVariants()[5]));
  kernels.push_back(Kernel(SiluSpec{1000, 64}));
  kernels.push_back(Kernel(GeluTanhSpec{1000, 64}));
  kernels.push_back(Kernel(GeluErfSpec{1000, 64}));
  kernels.push_back(Kernel(GegluSpec{1000, 64}));
  kernels.push_back(Kernel(MultiplySpec{1000, 64}));
  kernels.push_back(Kernel(SoftcapSpec{1000, 30, 64}));
  kernels.push_back(Kernel(BiasAddSpec{1000, 3, 64}));
  kernels.push_back(Kernel(TopKSpec{5, 8, 2, 64}));
  kernels.push_back(Kernel(TopKSpec{1000, 10, 1, 128}));
  kernels.push_back(Kernel(ConvertSpec{QuantType::kF32, QuantType::kBF16, 1002, 64}));
  kernels.push_back(Kernel(ConvertSpec{QuantType::kF16, QuantType::kF32, 4096, 256}));
  kernels.push_back(Kernel(ConvertSpec{QuantType::kF16, QuantType::kF32, 1002, 64, true}));
  kernels.push_back(Kernel(QuantizeE4M3Spec{1002, E4M3Scaling::kNone, 64}));
  kernels.push_back(Kernel(QuantizeE4M3Spec{4096, E4M3Scaling::kAbsmax, 256}));
  kernels.push_back(Kernel(QuantizeE4M3Spec{1002, E4M3Scaling::kFactor, 64}));
  kernels.push_back(Kernel(AbsmaxSpec{1000, 3, 128}));
  // The first variant of every family not yet there.
  for (const Family& family : AllFamilies()) {
    const bool there = std::any_of(kernels.begin(), kernels.end(),
                                   [&](const auto& kernel) { return kernel.first == family.name; });
    if (!there) kernels.emplace_back(family.name, family.variants().front());
  }
  return kernels;
}

// The fates of the mutants of one kind.
struct Row {
  std::map<Fate, int> count;

  int killed() { return count[Fate::kFault] + count[Fate::kWrongResult]; }
  double rate() {
    const int noticeable = killed() + count[Fate::kSurvived];
    return noticeable == 0 ? 1 : static_cast<double>(killed()) / noticeable;
  }
  std::string Text(absl::string_view name) {
    return absl::StrFormat("%-26s %8d %10d %6d %6d %8d %6.1f %%\n", name, count[Fate::kInvalid],
                           count[Fate::kEquivalent], count[Fate::kFault], count[Fate::kWrongResult],
                           count[Fate::kSurvived], 100 * rate());
  }
};

TEST(MutationTest, TheKernelTestsNoticeMutants) {
  std::vector<Subject> subjects;
  struct Job {
    const Subject* subject;
    Mutant mutant;
    Fate fate = Fate::kInvalid;
  };
  std::vector<Job> jobs;
  Rng rng(20);
  for (const auto& [family, fields] : Kernels()) {
    ASSERT_OK_AND_ASSIGN(Subject subject, MakeSubject(family, fields));
    subjects.push_back(std::move(subject));
  }
  for (const Subject& subject : subjects) {
    const Effort effort = EffortOf(subject.spec);
    for (Mutant& mutant : MakeMutants(subject.spec.ptx, effort.mutants, rng)) {
      if (mutant.kind == kDropBarrier && !effort.barriers) continue;
      jobs.push_back({&subject, std::move(mutant)});
    }
  }

  std::atomic<size_t> next = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back([&] {
      emu::Emulator emulator(1);
      for (size_t i = next++; i < jobs.size(); i = next++) {
        jobs[i].fate = FateOf(emulator, *jobs[i].subject, jobs[i].mutant);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  std::map<absl::string_view, Row> kinds;
  std::map<std::string, Row> families;
  Row total;
  for (const Job& job : jobs) {
    ++kinds[job.mutant.kind].count[job.fate];
    ++families[job.subject->spec.entry].count[job.fate];
    ++total.count[job.fate];
    if (job.fate != Fate::kSurvived) continue;
    std::cout << "survived: " << job.subject->name << "\n  line " << job.mutant.line + 1 << ":"
              << job.mutant.before << "\n  " << job.mutant.kind << ":" << job.mutant.after << "\n";
  }
  const std::string columns = absl::StrFormat("%8s %10s %6s %6s %8s %8s\n", "invalid", "equivalent",
                                              "fault", "wrong", "survived", "killed");
  std::cout << absl::StrFormat("%-26s ", "kind") << columns;
  for (auto& [kind, row] : kinds) std::cout << row.Text(kind);
  std::cout << absl::StrFormat("\n%-26s ", "family") << columns;
  for (auto& [family, row] : families) std::cout << row.Text(family);
  std::cout << total.Text("all");

  EXPECT_GT(total.killed(), 500);
  EXPECT_GE(total.rate(), 0.95);
  for (auto& [family, row] : families) {
    EXPECT_GE(row.rate(), family == DecodeTokenSpec::kFamily ? 0.8 : 0.9) << family;
    EXPECT_GT(row.killed(), 0) << family;
  }
  EXPECT_GT(kinds[kDropBarrier].killed(), 0);
  EXPECT_EQ(kinds[kDropBarrier].count[Fate::kSurvived], 0);
}

}  // namespace
}  // namespace ptxsmith
