#include "runtime/emu/emulator.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "runtime/emu/block_runner.h"
#include "runtime/emu/fault.h"

namespace ptxsmith::emu {
namespace {

constexpr uint32_t kMaxThreadsPerBlock = 1024;
constexpr uint32_t kDefaultMxcsr = 0x1f80;  // round to nearest, subnormals kept, no traps

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
  plan.params.resize(kernel->param_bytes);
  for (size_t i = 0; i < kernel->params.size(); ++i) {
    const Parameter& param = kernel->params[i];
    std::memcpy(plan.params.data() + param.offset, config.params[i], param.bytes);
  }
  PTXSMITH_ASSIGN_OR_RETURN(plan.globals, LaunchAccess::Globals(memory, program));

  emu::Launch& launch = plan.launch;
  launch.writer_base = LaunchAccess::ReserveBlocks(memory, blocks, kernel->global_granule_shift);
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

  LaunchStats stats;
  Fault fault;
  uint64_t fault_block = blocks;
  {
    LaunchAccess access(memory);
    plan.access = &access;
    launch.chunks = access.chunks();
    launch.num_allocations = access.num_allocations();
    std::mutex result_mutex;
    std::atomic<uint64_t> next{0}, end{blocks};
    const auto work = [&](int) {
      const ScopedMxcsr rounding;
      if (next.load() >= blocks) return;
      BlockRunner runner(plan);
      // Blocks are handed out in order, so every block before a faulty one is run, and the first
      // fault reported does not depend on the number of threads.
      for (uint64_t b = next.fetch_add(1); b < end.load(); b = next.fetch_add(1)) {
        const uint64_t linear = options.schedule_seed % 2 == 1 ? blocks - 1 - b : b;
        if (runner.Run(linear)) continue;
        const std::lock_guard<std::mutex> result_lock(result_mutex);
        if (b < fault_block) {
          fault_block = b;
          fault = runner.block().fault;
          end = b;
        }
      }
      const std::lock_guard<std::mutex> result_lock(result_mutex);
      stats.instructions += runner.block().instructions;
      stats.lane_ops += runner.block().lane_ops;
    };
    if (blocks == 1) {
      work(0);
    } else {
      pool_.Run(work);
    }
  }
  if (fault.kind == FaultKind::kNone) return stats;
  if (options.schedule_seed % 2 == 1) fault_block = blocks - 1 - fault_block;
  return FaultStatus(plan, fault_block, fault, memory);
}

}  // namespace ptxsmith::emu
