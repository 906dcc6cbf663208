#include "runtime/emu/emulator.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "runtime/emu/block_runner.h"
#include "runtime/emu/fault.h"
#include "runtime/emu/grid_runner.h"

namespace ptxsmith::emu {
namespace {

constexpr uint32_t kMaxThreadsPerBlock = 1024;
constexpr uint64_t kMaxCooperativeBlocks = 1024;  // each has its registers and shared memory
constexpr uint32_t kDefaultMxcsr = 0x1f80;        // round to nearest, subnormals kept, no traps

// PTX says how to round; the host application may have changed what its CPU does.
class ScopedMxcsr {
 public:
  ScopedMxcsr() : saved_(__builtin_ia32_stmxcsr()) { __builtin_ia32_ldmxcsr(kDefaultMxcsr); }
  ~ScopedMxcsr() { __builtin_ia32_ldmxcsr(saved_); }
  ScopedMxcsr(const ScopedMxcsr&) = delete;
  ScopedMxcsr& operator=(const ScopedMxcsr&) = delete;

 private:
  const uint32_t saved_;
};

std::string Dims(const std::array<uint32_t, 3>& d) {
  return absl::StrCat("(", d[0], ",", d[1], ",", d[2], ")");
}

absl::Status CheckGeometry(const Kernel& kernel, const LaunchConfig& config) {
  const auto& b = config.block;
  const uint64_t threads = uint64_t{b[0]} * b[1] * b[2];
  if (threads == 0 || threads > kMaxThreadsPerBlock || b[0] > kMaxThreadsPerBlock ||
      b[1] > kMaxThreadsPerBlock || b[2] > 64) {
    return absl::FailedPreconditionError(
        absl::StrCat("kernel ", kernel.name, ": block ", Dims(b), " is not of 1 to 1024 threads"));
  }
  if (kernel.reqntid[0] != 0 && kernel.reqntid != b) {
    return absl::FailedPreconditionError(absl::StrCat("kernel ", kernel.name, ": block ", Dims(b),
                                                      " differs from .reqntid ",
                                                      Dims(kernel.reqntid)));
  }
  const auto& most = kernel.maxntid;
  if (most[0] != 0 && threads > uint64_t{most[0]} * most[1] * most[2]) {
    return absl::FailedPreconditionError(absl::StrCat("kernel ", kernel.name, ": block ", Dims(b),
                                                      " exceeds .maxntid ", Dims(most)));
  }
  const uint64_t shared = uint64_t{kernel.dynamic_shared_begin} + config.dynamic_shared;
  if (shared > config.max_shared) {
    return absl::FailedPreconditionError(absl::StrCat(
        "kernel ", kernel.name, ": ", kernel.static_shared, " static and ", config.dynamic_shared,
        " dynamic bytes of shared memory exceed the limit of ", config.max_shared));
  }
  const uint64_t blocks = uint64_t{config.grid[0]} * config.grid[1];
  if (config.grid[1] > 65535 || config.grid[2] > 65535 || blocks > 0x7fffffff ||
      blocks * config.grid[2] > 0x7fffffff) {
    return absl::FailedPreconditionError(
        absl::StrCat("kernel ", kernel.name, ": grid ", Dims(config.grid), " is too large"));
  }
  if (config.cooperative && blocks * config.grid[2] > kMaxCooperativeBlocks) {
    return absl::FailedPreconditionError(absl::StrCat("kernel ", kernel.name, ": cooperative grid ",
                                                      Dims(config.grid), " has more than ",
                                                      kMaxCooperativeBlocks, " blocks"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LaunchStats> Emulator::Launch(const std::shared_ptr<const Program>& program,
                                             absl::string_view entry, const LaunchConfig& config,
                                             Memory& memory, const LaunchOptions& options) {
  const Kernel* kernel = program->Find(entry);
  if (kernel == nullptr) {
    return absl::NotFoundError(absl::StrCat("the PTX has no entry '", entry, "'"));
  }
  PTXSMITH_RETURN_IF_ERROR(CheckGeometry(*kernel, config));
  const uint64_t blocks = uint64_t{config.grid[0]} * config.grid[1] * config.grid[2];
  if (blocks == 0) return LaunchStats();

  const std::lock_guard<std::mutex> lock(mutex_);
  LaunchPlan plan;
  plan.program = program.get();
  plan.kernel = kernel;
  plan.grid = config.grid;
  plan.block = config.block;
  plan.dynamic_shared = config.dynamic_shared;
  plan.budget = options.instruction_budget;
  plan.seed = options.schedule_seed;
  plan.cooperative = config.cooperative;
  plan.params.resize(kernel->param_bytes);
  for (size_t i = 0; i < kernel->params.size(); ++i) {
    const Parameter& param = kernel->params[i];
    std::memcpy(plan.params.data() + param.offset, config.params[i], param.bytes);
  }
  PTXSMITH_ASSIGN_OR_RETURN(plan.globals, LaunchAccess::Globals(memory, program));

  emu::Launch& launch = plan.launch;
  const LaunchAccess::Names names = LaunchAccess::ReserveBlocks(
      memory, blocks, kernel->global_granule_shift, config.programmatic);
  launch.writer_base = names.first;
  launch.dependency_base = names.dependency_base;
  launch.code = kernel->code.data();
  launch.params = plan.params.data();
  launch.param_bytes = kernel->param_bytes;
  launch.constants = program->constants.data();
  launch.constant_bytes = static_cast<uint32_t>(program->constants.size());
  launch.shared_bytes = config.dynamic_shared == 0
                            ? kernel->static_shared
                            : kernel->dynamic_shared_begin + config.dynamic_shared;
  launch.local_bytes = kernel->local_bytes;
  launch.num_threads = config.block[0] * config.block[1] * config.block[2];
  launch.num_warps = static_cast<int>((launch.num_threads + kLanes - 1) / kLanes);
  launch.num_blocks = blocks;
  launch.checks = options.checks;
  launch.callbacks = BlockRunner::MakeCallbacks();
  launch.owner = &plan;

  GridRunner runner(plan);
  {
    LaunchAccess access(memory);
    plan.access = &access;
    launch.chunks = access.chunks();
    launch.num_allocations = access.num_allocations();
    const auto work = [&](int) {
      const ScopedMxcsr rounding;
      runner.Work();
    };
    if (blocks == 1 || runner.together()) {
      work(0);
    } else {
      pool_.Run(work);
    }
  }
  if (runner.fault().kind != FaultKind::kNone) {
    return FaultStatus(plan, runner.fault_block(), runner.fault(), memory);
  }
  return LaunchStats{runner.instructions(), runner.lane_ops()};
}

}  // namespace ptxsmith::emu
