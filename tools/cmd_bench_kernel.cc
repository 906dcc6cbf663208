// ptxsmith bench-kernel: the time of kernels by key, beside the bandwidth that a plain reader
// reaches in the same run.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/read_stream.h"
#include "ptx_templates/registry.h"
#include "runtime/device.h"
#include "runtime/graph.h"
#include "runtime/launch.h"
#include "tools/command.h"

namespace ptxsmith {
namespace {

struct Options {
  std::vector<std::string> keys;
  std::string device = "cuda:0";
  uint32_t repeats = 9;
};

// Far more than any L2 holds: a launch never finds what an earlier one read.
constexpr uint64_t kColdBytes = uint64_t{1200} << 20;
constexpr uint64_t kPatternBytes = uint64_t{16} << 20;
constexpr uint32_t kMaxLaunches = 512;
constexpr uint32_t kMinLaunches = 8;

struct Timing {
  double microseconds = 0;  // of one launch
  uint64_t bytes = 0;
  double Rate() const { return static_cast<double>(bytes) / microseconds / 1e6; }  // TB/s
};

// Every bit random, so that no power is saved on zeros. The same in every run.
std::vector<uint32_t> Pattern() {
  std::vector<uint32_t> words(kPatternBytes / sizeof(uint32_t));
  uint32_t state = 0x9e3779b9;
  for (uint32_t& word : words) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    word = state;
  }
  return words;
}

// Launches one kernel over rotating copies of what it reads, as one graph.
class Bench {
 public:
  explicit Bench(std::shared_ptr<Device> device, Stream stream)
      : device_(std::move(device)), stream_(std::move(stream)), pattern_(Pattern()) {}

  absl::StatusOr<Timing> Run(const KernelSpec& spec, uint32_t repeats) {
    PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const Module> module, device_->Load(spec));
    const std::vector<uint64_t> no_scalars(spec.params.size());
    PTXSMITH_ASSIGN_OR_RETURN(const uint64_t bytes, spec.cost.bytes.Evaluate(no_scalars));
    uint64_t once = 0;  // bytes of one copy of what it reads
    for (const ParamDesc& param : spec.params) {
      if (!IsPointer(param.kind)) {
        return absl::InvalidArgumentError(
            absl::StrCat(spec.key, ": size '", param.name, "' is open; give it a value"));
      }
      PTXSMITH_ASSIGN_OR_RETURN(const uint64_t count, param.count.Evaluate(no_scalars));
      if (param.kind == ParamKind::kIn) once += count * ByteSize(param.type);
    }
    const uint32_t launches = static_cast<uint32_t>(std::clamp<uint64_t>(
        kColdBytes / std::max<uint64_t>(once, 1) + 1, kMinLaunches, kMaxLaunches));
    std::vector<Buffer> buffers;
    std::vector<BoundLaunch> bound;
    PTXSMITH_RETURN_IF_ERROR(BindAll(module, launches, buffers, bound));
    PTXSMITH_ASSIGN_OR_RETURN(const Graph graph,
                              Graph::Record(stream_, Graph::Method::kCapture, [&] {
                                for (const BoundLaunch& launch : bound) {
                                  PTXSMITH_RETURN_IF_ERROR(Enqueue(launch, stream_));
                                }
                                return absl::OkStatus();
                              }));
    PTXSMITH_ASSIGN_OR_RETURN(Event begin, device_->NewEvent());
    PTXSMITH_ASSIGN_OR_RETURN(Event end, device_->NewEvent());
    std::vector<double> times;
    for (uint32_t i = 0; i <= repeats; ++i) {
      PTXSMITH_RETURN_IF_ERROR(begin.Record(stream_));
      PTXSMITH_RETURN_IF_ERROR(graph.Launch(stream_));
      PTXSMITH_RETURN_IF_ERROR(end.Record(stream_));
      PTXSMITH_ASSIGN_OR_RETURN(const double ms, end.MsSince(begin));
      if (i > 0) times.push_back(ms * 1e3 / launches);  // the first one warms up
    }
    std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
    return Timing{times[repeats / 2], bytes};
  }

 private:
  absl::Status BindAll(const std::shared_ptr<const Module>& module, uint32_t launches,
                       std::vector<Buffer>& buffers, std::vector<BoundLaunch>& bound) {
    const KernelSpec& spec = module->spec();
    const std::vector<uint64_t> no_scalars(spec.params.size());
    std::vector<Arg> args(spec.params.size());
    for (uint32_t i = 0; i < launches; ++i) {
      for (size_t p = 0; p < args.size(); ++p) {
        const ParamDesc& param = spec.params[p];
        if (i > 0 && param.kind != ParamKind::kIn) continue;  // outputs are shared
        PTXSMITH_ASSIGN_OR_RETURN(const uint64_t count, param.count.Evaluate(no_scalars));
        PTXSMITH_ASSIGN_OR_RETURN(Buffer buffer,
                                  device_->Allocate(count * ByteSize(param.type), param.name));
        PTXSMITH_RETURN_IF_ERROR(FillRandom(buffer));
        args[p] = BufferView(buffer);
        buffers.push_back(std::move(buffer));
      }
      PTXSMITH_ASSIGN_OR_RETURN(BoundLaunch launch, Bind(module, args));
      bound.push_back(std::move(launch));
    }
    return stream_.Synchronize();
  }

  // The pattern from the host once, then doubled on the device.
  absl::Status FillRandom(const Buffer& buffer) {
    const BufferView view(buffer);
    uint64_t filled = std::min(kPatternBytes, view.bytes);
    PTXSMITH_RETURN_IF_ERROR(stream_.CopyToDevice(view, pattern_.data(), filled));
    while (filled < view.bytes) {
      const uint64_t next = std::min(filled, view.bytes - filled);
      PTXSMITH_RETURN_IF_ERROR(
          stream_.CopyOnDevice(view.Slice(filled, next), view.Slice(0, next), next));
      filled += next;
    }
    return absl::OkStatus();
  }

  std::shared_ptr<Device> device_;
  Stream stream_;
  std::vector<uint32_t> pattern_;
};

absl::Status BenchKernels(const Options& options) {
  PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<Device> device, Device::Open(options.device));
  if (device->profile().emulated) {
    return absl::InvalidArgumentError("times of the emulator say nothing about a GPU");
  }
  const Target& target = device->profile().target;
  PTXSMITH_ASSIGN_OR_RETURN(Stream stream, device->NewStream());
  Bench bench(device, std::move(stream));
  const ReadStreamSpec reader = {.words = 1 << 28, .blocks = device->profile().sm_count * 4};
  PTXSMITH_ASSIGN_OR_RETURN(const KernelSpec read, BuildReadStream(reader, target));
  PTXSMITH_ASSIGN_OR_RETURN(const Timing roof, bench.Run(read, options.repeats));
  std::printf("%s\nread stream: %.3f TB/s\n", device->profile().ToString().c_str(), roof.Rate());
  std::printf("%10s %10s %8s  %s\n", "us", "TB/s", "of roof", "kernel");
  for (const std::string& key : options.keys) {
    PTXSMITH_ASSIGN_OR_RETURN(const KernelSpec spec, BuildFromKey(key, target));
    PTXSMITH_ASSIGN_OR_RETURN(const Timing timing, bench.Run(spec, options.repeats));
    std::printf("%10.2f %10.3f %7.1f%%  %s\n", timing.microseconds, timing.Rate(),
                100 * timing.Rate() / roof.Rate(), spec.key.c_str());
  }
  return absl::OkStatus();
}

}  // namespace

void AddBenchKernelCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "bench-kernel",
      "Time kernels on cold data: as many copies of their inputs as no cache holds, one graph");
  command->add_option("keys", options->keys, "As of `ptxsmith dump`, without open sizes")
      ->required();
  command->add_option("--device", options->device, "GPU")->capture_default_str();
  command->add_option("-r,--repeats", options->repeats, "Launches of the graph; the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->callback([options, &result] { result = BenchKernels(*options); });
}

}  // namespace ptxsmith
