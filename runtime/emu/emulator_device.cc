#include "runtime/emu/emulator_device.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "runtime/jit_log.h"

namespace ptxsmith {
namespace {

using Clock = std::chrono::steady_clock;

// What was recorded, to be run again.
struct EmulatedGraph {
  std::vector<std::function<absl::Status(DeviceBackend::Handle stream)>> work;
};
struct EmulatedStream {
  absl::Status fault;                    // the first since the last Synchronize
  std::unique_ptr<EmulatedGraph> graph;  // being captured, or null
};
struct EmulatedEvent {
  Clock::time_point time;
};

// Of a parameter's value.
uint64_t ByteSize(const ParamDesc& param) { return IsPointer(param.kind) ? 8 : 4; }

EmulatedStream& AsStream(DeviceBackend::Handle handle) {
  return *reinterpret_cast<EmulatedStream*>(handle);
}
EmulatedGraph& AsGraph(DeviceBackend::Handle handle) {
  return *reinterpret_cast<EmulatedGraph*>(handle);
}
EmulatedEvent& AsEvent(DeviceBackend::Handle handle) {
  return *reinterpret_cast<EmulatedEvent*>(handle);
}

class EmulatorModule : public Module {
 public:
  EmulatorModule(std::shared_ptr<Device> device, const KernelSpec& spec,
                 std::shared_ptr<const emu::Program> program, CompileInfo info)
      : device_(std::move(device)),
        spec_(spec),
        program_(std::move(program)),
        info_(std::move(info)) {}

  const KernelSpec& spec() const override { return spec_; }
  const CompileInfo& info() const override { return info_; }
  const std::shared_ptr<Device>& device() const override { return device_; }
  const std::shared_ptr<const emu::Program>& program() const { return program_; }

 private:
  const std::shared_ptr<Device> device_;
  const KernelSpec spec_;
  const std::shared_ptr<const emu::Program> program_;
  const CompileInfo info_;
};

class EmulatorDevice : public Device {
 public:
  EmulatorDevice(const Target& target, int threads) : emulator_(threads) {
    profile_.name = absl::StrCat("emu:sm", target.sm, target.specific ? "a" : "");
    profile_.description = "PTX emulator";
    profile_.target = target;
    profile_.capability = target.sm;
    profile_.emulated = true;
    profile_.max_ptx = MaxPtxVersionForDriver(profile_.platform().driver_version);
    profile_.sm_count = static_cast<uint32_t>(emulator_.threads());
    profile_.max_shared = target.limits().max_shared;
    profile_.total_memory = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                            static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  }

  const DeviceProfile& profile() const override { return profile_; }
  absl::StatusOr<std::shared_ptr<const Module>> Load(const KernelSpec& spec) override;

  absl::Status RawEnterContext() override {
    return absl::UnavailableError(absl::StrCat(profile_.name, " has no CUDA context"));
  }
  absl::StatusOr<DevicePtr> RawAllocate(uint64_t bytes, absl::string_view name) override {
    return memory_.Allocate(bytes, name);
  }
  absl::Status RawFree(DevicePtr ptr) override { return memory_.Free(ptr); }

  absl::StatusOr<void*> RawAllocateHost(uint64_t bytes) override {
    if (void* const memory = std::malloc(bytes)) return memory;
    return absl::ResourceExhaustedError(absl::StrCat("no ", bytes, " bytes of host memory"));
  }
  absl::Status RawFreeHost(void* memory) override {
    std::free(memory);
    return absl::OkStatus();
  }

  absl::StatusOr<Handle> RawNewStream() override {
    return reinterpret_cast<Handle>(new EmulatedStream);
  }
  absl::Status RawDestroyStream(Handle stream) override {
    delete &AsStream(stream);
    return absl::OkStatus();
  }
  absl::Status RawSynchronize(Handle stream) override {
    return std::exchange(AsStream(stream).fault, absl::OkStatus());
  }
  absl::Status RawCopyToDevice(Handle, DevicePtr to, const void* from, uint64_t bytes) override {
    return memory_.Write(to, from, bytes);
  }
  absl::Status RawCopyToHost(Handle, void* to, DevicePtr from, uint64_t bytes) override {
    return memory_.Read(from, to, bytes);
  }
  absl::Status RawCopyOnDevice(Handle stream, DevicePtr to, DevicePtr from,
                               uint64_t bytes) override {
    return Do(stream, [=, this](Handle) { return memory_.Copy(to, from, bytes); });
  }
  absl::Status RawFill(Handle stream, DevicePtr to, uint8_t value, uint64_t bytes) override {
    return Do(stream, [=, this](Handle) { return memory_.Fill(to, value, bytes); });
  }
  absl::Status RawLaunchKernel(Handle stream, const RawLaunch& launch) override;

  absl::StatusOr<Handle> RawNewEvent() override {
    return reinterpret_cast<Handle>(new EmulatedEvent);
  }
  absl::Status RawDestroyEvent(Handle event) override {
    delete &AsEvent(event);
    return absl::OkStatus();
  }
  absl::Status RawRecord(Handle event, Handle) override {
    AsEvent(event).time = Clock::now();
    return absl::OkStatus();
  }
  // Work has run when it was enqueued.
  absl::Status RawWait(Handle, Handle) override { return absl::OkStatus(); }
  absl::Status RawAwait(Handle) override { return absl::OkStatus(); }
  absl::StatusOr<double> RawElapsedMs(Handle begin, Handle end) override {
    return std::chrono::duration<double, std::milli>(AsEvent(end).time - AsEvent(begin).time)
        .count();
  }

  absl::Status RawBeginCapture(Handle stream) override {
    AsStream(stream).graph = std::make_unique<EmulatedGraph>();
    return absl::OkStatus();
  }
  absl::StatusOr<Handle> RawEndCapture(Handle stream) override {
    return reinterpret_cast<Handle>(AsStream(stream).graph.release());
  }
  absl::StatusOr<Handle> RawBuildGraph(absl::Span<const RawLaunch> launches) override {
    auto graph = std::make_unique<EmulatedGraph>();
    for (const RawLaunch& launch : launches) graph->work.push_back(Recorded(launch));
    return reinterpret_cast<Handle>(graph.release());
  }
  absl::Status RawDestroyGraph(Handle graph) override {
    delete &AsGraph(graph);
    return absl::OkStatus();
  }
  absl::Status RawLaunchGraph(Handle stream, Handle graph) override {
    for (const auto& work : AsGraph(graph).work) PTXSMITH_RETURN_IF_ERROR(work(stream));
    return absl::OkStatus();
  }

  void set_schedule(uint64_t seed) { options_.schedule_seed = seed; }
  emu::LaunchStats totals() const {
    const std::lock_guard<std::mutex> lock(totals_mutex_);
    return totals_;
  }

 private:
  // Runs the work, or puts it into the graph that is captured from the stream.
  template <class Work>
  absl::Status Do(Handle stream, Work&& work) {
    EmulatedGraph* const graph = AsStream(stream).graph.get();
    if (graph == nullptr) return work(stream);
    graph->work.emplace_back(std::forward<Work>(work));
    return absl::OkStatus();
  }
  // The launch with its own copy of the arguments.
  std::function<absl::Status(Handle)> Recorded(const RawLaunch& launch);
  absl::Status Run(Handle stream, const RawLaunch& launch);
  DeviceProfile profile_;
  emu::Emulator emulator_;
  emu::Memory memory_;
  emu::LaunchOptions options_;
  mutable std::mutex totals_mutex_;
  emu::LaunchStats totals_;
};

absl::StatusOr<std::shared_ptr<const Module>> EmulatorDevice::Load(const KernelSpec& spec) {
  PTXSMITH_RETURN_IF_ERROR(profile_.Fits(spec));
  const auto start = Clock::now();
  auto program = emu::ParseProgram(spec.ptx);
  if (!program.ok()) {
    return absl::Status(
        program.status().code(),
        absl::StrCat(spec.key, ": ", AnnotateLog(program.status().message(), spec)));
  }
  if ((*program)->Find(spec.entry) == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(spec.key, ": the text has no entry '", spec.entry, "'"));
  }
  CompileInfo info;
  info.milliseconds = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  return std::make_shared<const EmulatorModule>(shared_from_this(), spec, *std::move(program),
                                                std::move(info));
}

absl::Status EmulatorDevice::RawLaunchKernel(Handle stream, const RawLaunch& launch) {
  EmulatedGraph* const graph = AsStream(stream).graph.get();
  if (graph == nullptr) return Run(stream, launch);
  graph->work.push_back(Recorded(launch));
  return absl::OkStatus();
}

std::function<absl::Status(DeviceBackend::Handle)> EmulatorDevice::Recorded(
    const RawLaunch& launch) {
  std::vector<uint64_t> values;
  for (size_t i = 0; i < launch.module->spec().params.size(); ++i) {
    values.push_back(0);
    std::memcpy(&values.back(), launch.params[i], ByteSize(launch.module->spec().params[i]));
  }
  std::vector<void*> params(values.size());
  return [this, launch = RawLaunch(launch), values, params](Handle stream) mutable {
    for (size_t i = 0; i < values.size(); ++i) params[i] = &values[i];
    launch.params = params.data();
    return Run(stream, launch);
  };
}

absl::Status EmulatorDevice::Run(Handle stream, const RawLaunch& launch) {
  const auto& module = static_cast<const EmulatorModule&>(*launch.module);
  const KernelSpec& spec = module.spec();
  emu::LaunchConfig config;
  config.grid = launch.grid;
  config.block = spec.launch.block;
  config.dynamic_shared = launch.dynamic_shared;
  config.max_shared = profile_.max_shared;
  config.params = launch.params;
  config.programmatic = spec.launch.programmatic;
  config.cooperative = spec.launch.cooperative;
  const absl::StatusOr<emu::LaunchStats> stats =
      emulator_.Launch(module.program(), spec.entry, config, memory_, options_);
  if (stats.ok()) {
    const std::lock_guard<std::mutex> lock(totals_mutex_);
    totals_.instructions += stats->instructions;
    totals_.lane_ops += stats->lane_ops;
    return absl::OkStatus();
  }
  absl::Status fault(stats.status().code(),
                     absl::StrCat(spec.key, ": ", AnnotateLog(stats.status().message(), spec)));
  if (AsStream(stream).fault.ok()) AsStream(stream).fault = fault;
  return fault;
}

}  // namespace

absl::StatusOr<std::shared_ptr<Device>> OpenEmulator(const Target& target, int threads) {
  return std::make_shared<EmulatorDevice>(target, threads);
}

void SetEmulatorSchedule(Device& device, uint64_t seed) {
  static_cast<EmulatorDevice&>(device).set_schedule(seed);
}

emu::LaunchStats EmulatorTotals(const Device& device) {
  return static_cast<const EmulatorDevice&>(device).totals();
}

}  // namespace ptxsmith
