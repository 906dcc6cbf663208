#include "tools/step_profile.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "codegen/status_macros.h"
#include "ptx_templates/kv_cache.h"
#include "runtime/graph.h"

namespace ptxsmith {
namespace {

constexpr int kRepeats = 9;

// The median time of the first `count` kernels of the step as one graph, in microseconds.
absl::StatusOr<double> TimePrefix(Transformer& model, size_t count) {
  Stream& stream = model.stream();
  Device& device = *stream.device();
  const std::vector<StepKernel>& kernels = model.decode_step().kernels();
  PTXSMITH_ASSIGN_OR_RETURN(const Graph graph, Graph::Record(stream, Graph::Method::kCapture, [&] {
                              for (size_t i = 0; i < count; ++i) {
                                PTXSMITH_RETURN_IF_ERROR(kernels[i].Enqueue(stream));
                              }
                              return absl::OkStatus();
                            }));
  PTXSMITH_ASSIGN_OR_RETURN(Event begin, device.NewEvent());
  PTXSMITH_ASSIGN_OR_RETURN(Event end, device.NewEvent());
  std::vector<double> times;
  for (int i = 0; i <= kRepeats; ++i) {
    PTXSMITH_RETURN_IF_ERROR(begin.Record(stream));
    PTXSMITH_RETURN_IF_ERROR(graph.Launch(stream));
    PTXSMITH_RETURN_IF_ERROR(end.Record(stream));
    PTXSMITH_ASSIGN_OR_RETURN(const double ms, end.MsSince(begin));
    if (i > 0) times.push_back(ms * 1e3);  // the first warms up
  }
  std::nth_element(times.begin(), times.begin() + kRepeats / 2, times.end());
  return times[kRepeats / 2];
}

// The tile levels of the original's profiler.
absl::string_view LevelOf(absl::string_view stage) {
  if (absl::StartsWith(stage, "attention")) return "midi";
  for (const absl::string_view macro : {"qkv", "attn_output", "ffn_", "output", "token"}) {
    if (absl::StartsWith(stage, macro) && !absl::EndsWith(stage, "_norm")) return "macro";
  }
  return "micro";
}

// Of a launch; attention reads what the sequence has and not all of its cache.
uint64_t BytesOf(const StepKernel& kernel, const Transformer& model) {
  if (kernel.stage != "attention") return kernel.launch.bytes();
  const ModelConfig& config = model.config();
  const uint64_t cell = KvCellBytes(model.kv_cache().options().type, config.head_dim);
  return 2 * cell * config.head_count_kv * (model.length() + 1);
}

struct Row {
  std::string name;
  size_t calls = 0;
  double microseconds = 0;
  uint64_t bytes = 0;

  void Add(const KernelTime& kernel) {
    ++calls;
    microseconds += kernel.microseconds;
    bytes += kernel.bytes;
  }
};

Row& RowOf(std::vector<Row>& rows, const std::string& name) {
  for (Row& row : rows) {
    if (row.name == name) return row;
  }
  rows.push_back({name});
  return rows.back();
}

}  // namespace

std::string StepProfile::Table() const {
  std::vector<Row> stages, levels;
  for (const KernelTime& kernel : kernels) {
    RowOf(stages, absl::StrFormat("%s (%s)", kernel.stage, kernel.family)).Add(kernel);
    RowOf(levels, std::string(LevelOf(kernel.stage))).Add(kernel);
  }
  std::string text = absl::StrFormat("%-36s %6s %10s %8s %8s %7s\n", "kernel", "calls", "us",
                                     "GB/s", "of roof", "share");
  const auto add = [&](const Row& row) {
    const double rate =
        row.microseconds > 0 ? static_cast<double>(row.bytes) / row.microseconds * 1e6 : 0.0;
    absl::StrAppendFormat(&text, "%-36s %6d %10.1f %8.0f %6.1f %% %5.1f %%\n", row.name, row.calls,
                          row.microseconds, rate * 1e-9, 100 * rate / roof,
                          100 * row.microseconds / microseconds);
  };
  for (const Row& row : stages) add(row);
  text += '\n';
  for (const Row& row : levels) add(row);
  Row all{"step"};
  for (const KernelTime& kernel : kernels) all.Add(kernel);
  add(all);
  return text;
}

std::string StepProfile::ChromeTrace() const {
  using Json = nlohmann::ordered_json;
  Json events = Json::array();
  double start = 0;
  for (const KernelTime& kernel : kernels) {
    events.push_back({{"name", kernel.stage},
                      {"cat", std::string(LevelOf(kernel.stage))},
                      {"ph", "X"},
                      {"ts", start},
                      {"dur", kernel.microseconds},
                      {"pid", 0},
                      {"tid", 0},
                      {"args",
                       {{"layer", kernel.layer},
                        {"kernel", kernel.family},
                        {"bytes", kernel.bytes},
                        {"flops", kernel.flops}}}});
    start += kernel.microseconds;
  }
  return Json{{"traceEvents", events}, {"displayTimeUnit", "ns"}}.dump();
}

absl::StatusOr<StepProfile> ProfileStep(Transformer& model, double roof) {
  if (model.stream().device()->profile().emulated) {
    return absl::FailedPreconditionError("times of the emulator say nothing about a GPU");
  }
  StepProfile profile{.roof = roof};
  const std::vector<StepKernel>& kernels = model.decode_step().kernels();
  for (size_t i = 0; i < kernels.size(); ++i) {
    const StepKernel& kernel = kernels[i];
    PTXSMITH_ASSIGN_OR_RETURN(const double until, TimePrefix(model, i + 1));
    KernelTime time;
    time.layer = kernel.layer;
    time.stage = std::string(kernel.stage);
    time.family = kernel.launch.module().spec().entry;
    // Noise may let a prefix seem shorter than the one before it.
    time.microseconds = std::max(0.0, until - profile.microseconds);
    time.bytes = BytesOf(kernel, model);
    time.flops = kernel.launch.flops();
    profile.microseconds = std::max(profile.microseconds, until);
    profile.kernels.push_back(std::move(time));
  }
  return profile;
}

}  // namespace ptxsmith
