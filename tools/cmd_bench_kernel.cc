// ptxsmith bench-kernel: the time of kernels by key, beside the bandwidth that a plain reader
// reaches in the same run; products of NVIDIA's library, for comparison, by a key of their own.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "codegen/spec_fields.h"
#include "codegen/status_macros.h"
#include "ptx_templates/read_stream.h"
#include "ptx_templates/registry.h"
#include "runtime/dense_gemm.h"
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
// Of two f16, all bits but the highest of the exponents: a sum of infinities is a NaN for good.
constexpr uint32_t kFiniteHalves = 0xbfffbfff;
constexpr uint32_t kMaxLaunches = 512;
constexpr uint32_t kMinLaunches = 8;

// A product of the library: "cublaslt:m=2048,n=4096,k=4096".
struct LibrarySpec {
  uint32_t m = 2048, n = 4096, k = 4096;
  bool half = false;
  bool residual = false;

  static constexpr absl::string_view kFamily = "cublaslt";
  static constexpr auto kFields =
      Fields(Field("m", &LibrarySpec::m, AtLeast(1), "tokens"),
             Field("n", &LibrarySpec::n, AtLeast(1), "rows of W"),
             Field("k", &LibrarySpec::k, AtLeast(1), "columns of W"),
             Field("half", &LibrarySpec::half, {}, "y is f16"),
             Field("residual", &LibrarySpec::residual, {}, "add to y instead of overwriting it"));
};

struct Timing {
  double microseconds = 0;  // of one launch
  uint64_t bytes = 0;
  uint64_t flops = 0;
  double Rate() const { return static_cast<double>(bytes) / microseconds / 1e6; }     // TB/s
  double Compute() const { return static_cast<double>(flops) / microseconds / 1e6; }  // TFLOP/s
};

// Random bits, so that no power is saved on zeros; those of `mask`. The same in every run.
std::vector<uint32_t> Pattern(uint32_t mask) {
  std::vector<uint32_t> words(kPatternBytes / sizeof(uint32_t));
  uint32_t state = 0x9e3779b9;
  for (uint32_t& word : words) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    word = state & mask;
  }
  return words;
}

enum class Content : uint8_t { kBits, kFiniteHalves, kZeros };

// Words read one by one say where something lies: tokens, positions, slots. 0 is a place there is.
Content ContentOf(const ParamDesc& param) {
  if (param.type == ElemType::kF16) return Content::kFiniteHalves;
  const bool places = param.type == ElemType::kU32 && param.alignment == ByteSize(ElemType::kU32);
  return places ? Content::kZeros : Content::kBits;
}

// Launches one kernel over rotating copies of what it reads, as one graph.
class Bench {
 public:
  explicit Bench(std::shared_ptr<Device> device, Stream stream)
      : device_(std::move(device)),
        stream_(std::move(stream)),
        pattern_(Pattern(~0u)),
        finite_halves_(Pattern(kFiniteHalves)) {}

  absl::StatusOr<Timing> Run(const KernelSpec& spec, uint32_t repeats) {
    PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const Module> module, device_->Load(spec));
    const std::vector<uint64_t> no_scalars(spec.params.size());
    PTXSMITH_ASSIGN_OR_RETURN(const uint64_t bytes, spec.cost.bytes.Evaluate(no_scalars));
    PTXSMITH_ASSIGN_OR_RETURN(const uint64_t flops, spec.cost.flops.Evaluate(no_scalars));
    uint64_t once = 0;  // bytes of one copy of what it reads
    for (const ParamDesc& param : spec.params) {
      if (!IsPointer(param.kind)) {
        return absl::InvalidArgumentError(
            absl::StrCat(spec.key, ": size '", param.name, "' is open; give it a value"));
      }
      PTXSMITH_ASSIGN_OR_RETURN(const uint64_t count, param.count.Evaluate(no_scalars));
      if (param.kind == ParamKind::kIn) once += count * ByteSize(param.type);
    }
    std::vector<Buffer> buffers;
    std::vector<Arg> args(spec.params.size());
    std::vector<Enqueuer> launches(LaunchesFor(once));
    for (Enqueuer& launch : launches) {
      for (size_t p = 0; p < args.size(); ++p) {
        const ParamDesc& param = spec.params[p];
        if (&launch != launches.data() && param.kind != ParamKind::kIn) continue;  // shared
        PTXSMITH_ASSIGN_OR_RETURN(const uint64_t count, param.count.Evaluate(no_scalars));
        PTXSMITH_ASSIGN_OR_RETURN(
            args[p], NewBuffer(count * ByteSize(param.type), ContentOf(param), buffers));
      }
      PTXSMITH_ASSIGN_OR_RETURN(BoundLaunch bound, Bind(module, args));
      launch = [this, bound = std::make_shared<BoundLaunch>(std::move(bound))] {
        return Enqueue(*bound, stream_);
      };
    }
    PTXSMITH_ASSIGN_OR_RETURN(const double microseconds, Time(launches, repeats));
    return Timing{microseconds, bytes, flops};
  }

  absl::StatusOr<Timing> Run(const LibrarySpec& spec, uint32_t repeats) {
    if (library_ == nullptr) {
      PTXSMITH_ASSIGN_OR_RETURN(library_, DenseGemm::Open(device_));
    }
    const GemmProblem problem = {
        .m = spec.m,
        .n = spec.n,
        .k = spec.k,
        .output = spec.half ? GemmProblem::Output::kF16 : GemmProblem::Output::kF32,
        .accumulate = spec.residual};
    const uint64_t x_bytes = uint64_t{spec.m} * spec.k * 2, w_bytes = uint64_t{spec.n} * spec.k * 2;
    std::vector<Buffer> buffers;
    PTXSMITH_ASSIGN_OR_RETURN(
        const BufferView y,
        NewBuffer(uint64_t{spec.m} * spec.n * (spec.half ? 2 : 4),
                  spec.half ? Content::kFiniteHalves : Content::kBits, buffers));
    std::vector<Enqueuer> launches(LaunchesFor(x_bytes + w_bytes));
    Timing timing;
    for (Enqueuer& launch : launches) {
      PTXSMITH_ASSIGN_OR_RETURN(const BufferView x,
                                NewBuffer(x_bytes, Content::kFiniteHalves, buffers));
      PTXSMITH_ASSIGN_OR_RETURN(const BufferView w,
                                NewBuffer(w_bytes, Content::kFiniteHalves, buffers));
      PTXSMITH_ASSIGN_OR_RETURN(BoundGemm bound, library_->Bind(problem, y, x, w));
      timing.bytes = bound.bytes(), timing.flops = bound.flops();
      launch = [this, bound] { return Enqueue(bound, stream_); };
    }
    PTXSMITH_ASSIGN_OR_RETURN(timing.microseconds, Time(launches, repeats));
    return timing;
  }

 private:
  using Enqueuer = std::function<absl::Status()>;

  static size_t LaunchesFor(uint64_t bytes) {
    return std::clamp<uint64_t>(kColdBytes / std::max<uint64_t>(bytes, 1) + 1, kMinLaunches,
                                kMaxLaunches);
  }

  // Of one of the launches, when all follow each other.
  absl::StatusOr<double> Time(const std::vector<Enqueuer>& launches, uint32_t repeats) {
    PTXSMITH_RETURN_IF_ERROR(stream_.Synchronize());
    PTXSMITH_ASSIGN_OR_RETURN(const Graph graph,
                              Graph::Record(stream_, Graph::Method::kCapture, [&] {
                                for (const Enqueuer& launch : launches) {
                                  PTXSMITH_RETURN_IF_ERROR(launch());
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
      if (i > 0) times.push_back(ms * 1e3 / static_cast<double>(launches.size()));  // 0 warms up
    }
    std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
    return times[repeats / 2];
  }

  absl::StatusOr<BufferView> NewBuffer(uint64_t bytes, Content content,
                                       std::vector<Buffer>& buffers) {
    PTXSMITH_ASSIGN_OR_RETURN(Buffer buffer, device_->Allocate(bytes, "bench"));
    PTXSMITH_RETURN_IF_ERROR(
        content == Content::kZeros
            ? stream_.Fill(buffer, 0)
            : FillRandom(buffer, content == Content::kBits ? pattern_ : finite_halves_));
    buffers.push_back(std::move(buffer));
    return BufferView(buffers.back());
  }

  // The pattern from the host once, then doubled on the device.
  absl::Status FillRandom(const Buffer& buffer, const std::vector<uint32_t>& pattern) {
    const BufferView view(buffer);
    uint64_t filled = std::min(kPatternBytes, view.bytes);
    PTXSMITH_RETURN_IF_ERROR(stream_.CopyToDevice(view, pattern.data(), filled));
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
  const std::vector<uint32_t> pattern_, finite_halves_;
  std::shared_ptr<const DenseGemm> library_;  // once one of its products is asked for
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
  std::printf("%10s %10s %8s %10s  %s\n", "us", "TB/s", "of roof", "TFLOP/s", "kernel");
  for (const std::string& key : options.keys) {
    absl::string_view fields = key;
    Timing timing;
    if (absl::ConsumePrefix(&fields, "cublaslt:")) {
      PTXSMITH_ASSIGN_OR_RETURN(const LibrarySpec spec, ParseFields<LibrarySpec>(fields));
      PTXSMITH_ASSIGN_OR_RETURN(timing, bench.Run(spec, options.repeats));
    } else {
      PTXSMITH_ASSIGN_OR_RETURN(const KernelSpec spec, BuildFromKey(key, target));
      PTXSMITH_ASSIGN_OR_RETURN(timing, bench.Run(spec, options.repeats));
    }
    std::printf("%10.2f %10.3f %7.1f%% %10.1f  %s\n", timing.microseconds, timing.Rate(),
                100 * timing.Rate() / roof.Rate(), timing.Compute(), key.c_str());
  }
  return absl::OkStatus();
}

}  // namespace

void AddBenchKernelCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "bench-kernel",
      "Time kernels on cold data: as many copies of their inputs as no cache holds, one graph");
  command
      ->add_option("keys", options->keys,
                   "As of `ptxsmith dump`, without open sizes; or cublaslt:m=2048,n=4096,k=4096")
      ->required();
  command->add_option("--device", options->device, "GPU")->capture_default_str();
  command->add_option("-r,--repeats", options->repeats, "Launches of the graph; the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->callback([options, &result] { result = BenchKernels(*options); });
}

}  // namespace ptxsmith
