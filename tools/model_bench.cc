#include "tools/model_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <memory>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/kv_cache.h"
#include "ptx_templates/read_stream.h"
#include "runtime/launch.h"

namespace ptxsmith {
namespace {

// Steps on the device before their tokens are looked at.
constexpr uint32_t kStepsAhead = 2;

constexpr uint64_t kReadBytes = uint64_t{4} << 30;  // far more than any L2 holds
constexpr int kReads = 9;

// Of this thread.
double ProcessorSeconds() {
  std::timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

}  // namespace

std::string BenchTest::Name() const {
  std::string name = prompt != 0 ? absl::StrCat("pp", prompt) : absl::StrCat("tg", generate);
  if (sequences != 1) absl::StrAppend(&name, " x ", sequences);
  if (depth != 0) absl::StrAppend(&name, " @ d", depth);
  return name;
}

std::vector<TokenId> ModelBench::RandomTokens(uint32_t count) {
  std::vector<TokenId> tokens;
  for (uint32_t i = 0; i < count; ++i) {
    random_ = random_ * 1664525 + 1013904223;
    tokens.push_back(static_cast<TokenId>(uint64_t{random_} * model_.config().vocab_size >> 32));
  }
  return tokens;
}

// Everything up to the first token that is timed.
absl::Status ModelBench::Fill(const BenchTest& test) {
  std::vector<SlotToken> rows;
  for (uint32_t slot = 0; slot < test.sequences; ++slot) {
    PTXSMITH_RETURN_IF_ERROR(model_.Select(slot));
    model_.Reset();
    PTXSMITH_RETURN_IF_ERROR(model_.Prompt(RandomTokens(test.depth), /*want_logits=*/false));
    rows.push_back({slot, RandomTokens(1)[0]});
  }
  if (test.generate == 0) return absl::OkStatus();
  if (test.sequences > 1) {
    PTXSMITH_RETURN_IF_ERROR(model_.StepBatch(rows));
    return model_.NextBatch().status();
  }
  PTXSMITH_RETURN_IF_ERROR(model_.Step(rows[0].token, /*want_logits=*/true));
  return model_.Greedy().status();
}

absl::Status ModelBench::Generate(const BenchTest& test) {
  const bool batch = test.sequences > 1;
  uint32_t steps = 0;
  for (uint32_t read = 0; read < test.generate; ++read) {
    const double before = ProcessorSeconds();
    for (; steps < std::min(read + kStepsAhead, test.generate); ++steps) {
      PTXSMITH_RETURN_IF_ERROR(batch ? model_.StepBatchGreedy() : model_.StepGreedy());
    }
    host_seconds_ += ProcessorSeconds() - before;
    PTXSMITH_RETURN_IF_ERROR(batch ? model_.NextBatch().status() : model_.NextGreedy().status());
  }
  host_steps_ += steps;
  return absl::OkStatus();
}

absl::StatusOr<double> ModelBench::RunOnce(const BenchTest& test) {
  PTXSMITH_RETURN_IF_ERROR(Fill(test));
  const std::vector<TokenId> prompt = RandomTokens(test.prompt);
  PTXSMITH_RETURN_IF_ERROR(model_.stream().Synchronize());
  const auto start = std::chrono::steady_clock::now();
  PTXSMITH_RETURN_IF_ERROR(model_.Prompt(prompt, /*want_logits=*/true));
  PTXSMITH_RETURN_IF_ERROR(Generate(test));
  PTXSMITH_RETURN_IF_ERROR(model_.stream().Synchronize());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

absl::StatusOr<std::vector<double>> ModelBench::Run(const BenchTest& test, uint32_t repeats) {
  PTXSMITH_RETURN_IF_ERROR(RunOnce(test).status());
  std::vector<double> seconds;
  host_seconds_ = 0;
  host_steps_ = 0;
  for (uint32_t i = 0; i < repeats; ++i) {
    PTXSMITH_ASSIGN_OR_RETURN(const double time, RunOnce(test));
    seconds.push_back(time);
  }
  return seconds;
}

uint64_t ModelBench::BytesPerStep(const BenchTest& test) const {
  const ModelConfig& config = model_.config();
  const uint64_t cell = KvCellBytes(model_.kv_cache().options().type, config.head_dim);
  const uint64_t positions =
      uint64_t{test.sequences} * (test.depth + (test.prompt + test.generate) / 2);
  return model_.weights().bytes_per_token() +
         positions * config.block_count * config.head_count_kv * cell * 2;
}

absl::StatusOr<double> ReadBandwidth(Device& device) {
  const DeviceProfile& profile = device.profile();
  uint64_t bytes = kReadBytes;
  while (bytes > profile.total_memory / 4) bytes /= 2;
  const ReadStreamSpec spec{.words = static_cast<uint32_t>(bytes / 4),
                            .blocks = profile.sm_count * 4};
  PTXSMITH_ASSIGN_OR_RETURN(const KernelSpec kernel, BuildReadStream(spec, profile.target));
  PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const Module> module, device.Load(kernel));
  PTXSMITH_ASSIGN_OR_RETURN(const Buffer y, device.Allocate(uint64_t{spec.blocks} * 4, "y"));
  PTXSMITH_ASSIGN_OR_RETURN(const Buffer x, device.Allocate(bytes, "x"));
  PTXSMITH_ASSIGN_OR_RETURN(Stream stream, device.NewStream());
  PTXSMITH_RETURN_IF_ERROR(stream.Fill(x, 0x5a));
  PTXSMITH_ASSIGN_OR_RETURN(const BoundLaunch read, Bind(std::move(module), {y, x}));
  PTXSMITH_ASSIGN_OR_RETURN(Event begin, device.NewEvent());
  PTXSMITH_ASSIGN_OR_RETURN(Event end, device.NewEvent());
  std::vector<double> rates;
  for (int i = 0; i <= kReads; ++i) {
    PTXSMITH_RETURN_IF_ERROR(begin.Record(stream));
    PTXSMITH_RETURN_IF_ERROR(Enqueue(read, stream));
    PTXSMITH_RETURN_IF_ERROR(end.Record(stream));
    PTXSMITH_ASSIGN_OR_RETURN(const double ms, end.MsSince(begin));
    if (i > 0) rates.push_back(static_cast<double>(bytes) / ms * 1e3);  // the first warms up
  }
  std::nth_element(rates.begin(), rates.begin() + kReads / 2, rates.end());
  return rates[kReads / 2];
}

Sample SampleOf(const std::vector<double>& values) {
  Sample sample;
  for (const double value : values) sample.mean += value / static_cast<double>(values.size());
  if (values.size() < 2) return sample;
  double squares = 0;
  for (const double value : values) {
    squares += (value - sample.mean) * (value - sample.mean);
  }
  sample.deviation = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return sample;
}

}  // namespace ptxsmith
