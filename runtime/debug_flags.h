// What the user wants of the runtime, set by environment variables and handed to Device::Open. The
// only place of the project that reads the environment, and the one log sink.
//
//   PTXSMITH_ASSIGN_OR_RETURN(DebugFlags flags, DebugFlags::FromEnvironment());
//   PTXSMITH_ASSIGN_OR_RETURN(auto device, Device::Open("auto", flags));
//   if (flags.level >= 1) flags.log("ready");
//
// A value; the sink may be called from any thread and must be thread-safe.
#ifndef PTXSMITH_RUNTIME_DEBUG_FLAGS_H_
#define PTXSMITH_RUNTIME_DEBUG_FLAGS_H_

#include <functional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ptxsmith {

// Takes one message without a newline at its end.
using LogSink = std::function<void(absl::string_view)>;

void LogToStderr(absl::string_view message);

struct DebugFlags {
  // PTXSMITH_DEBUG: 1 device and cache summary, 2 also each launch, 3 also the PTX of each new
  // kernel, 4 also what the compiler said about it.
  int level = 0;
  std::string dump_dir;  // PTXSMITH_DUMP_DIR: new kernels are written here as KEY.ptx
  std::string device;    // PTXSMITH_DEVICE: what "auto" means
  bool sync = false;     // PTXSMITH_SYNC=1: wait after each launch and name the kernel at fault
  // Where compiled kernels are kept: PTXSMITH_CACHE_DIR, else ptxsmith below XDG_CACHE_HOME or
  // ~/.cache. Empty, with PTXSMITH_NO_CACHE=1 or where there is no home: nowhere.
  std::string cache_dir;
  bool forbid_build = false;  // PTXSMITH_FORBID_BUILD=1: a kernel that is not kept is an error
  std::string cuda_home;      // CUDA_HOME or CUDA_PATH: the toolkit to take libraries from
  LogSink log = LogToStderr;

  // InvalidArgument names the variable, its value and what it may be.
  static absl::StatusOr<DebugFlags> FromEnvironment();
  // The same with another source of values; null: not set.
  static absl::StatusOr<DebugFlags> Read(absl::FunctionRef<const char*(const char*)> get);
};

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_DEBUG_FLAGS_H_
