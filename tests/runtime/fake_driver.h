// A CUDA driver without a GPU, as the table the runtime calls through: device memory is host
// memory, kernels are counted instead of run, every call is recorded and any one can be made to
// fail.
//
//   FakeDriver fake;
//   fake.FailAt(7, CUDA_ERROR_OUT_OF_MEMORY);
//   auto device = OpenCuda(0, fake.api());
//
// One at a time, because the driver's calls have no argument to carry it. The calls may come from
// any thread; what was recorded is read when they are over.
#ifndef PTXSMITH_TESTS_RUNTIME_FAKE_DRIVER_H_
#define PTXSMITH_TESTS_RUNTIME_FAKE_DRIVER_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/driver_api.h"

namespace ptxsmith {

class FakeDriver {
 public:
  FakeDriver();
  ~FakeDriver();
  FakeDriver(const FakeDriver&) = delete;

  std::shared_ptr<const DriverApi> api() const { return api_; }

  // Call number `index` (from 0) fails, with `forever` also all later ones, as after a fault of a
  // kernel.
  void FailAt(size_t index, CUresult error, bool forever = false);

  // The names of all calls so far, except those that only describe an error.
  const std::vector<std::string>& calls() const { return calls_; }
  size_t Count(const std::string& call) const;
  // Things made and not given back: "context", "module", "memory", "pinned", "stream", "event",
  // "graph", "executable".
  std::map<std::string, int> Live() const;

  // What the next calls see.
  int driver_version = 13000;
  int device_count = 1;
  int sm_major = 9;
  int sm_minor = 0;
  std::string error_log;          // written by a compilation that fails
  std::string info_log = "info";  // written by one that succeeds
  std::string jit_problem;        // set by a compilation whose options are not as they should be
  CUresult jit_result = CUDA_SUCCESS;
  CUresult code_result = CUDA_SUCCESS;  // of machine code, which starts as every ELF file
  int codes_loaded = 0;
  int opted_in_shared = 0;  // by cuFuncSetAttribute
  // Of the last launch.
  unsigned grid[3] = {};
  unsigned block[3] = {};
  unsigned dynamic_shared = 0;
  void** params = nullptr;

  // Attributes of launches and of edges, in order: "cooperative", "programmatic", "edge".
  std::vector<std::string> attributes;
  // As drivers before CUDA 11.4 are. To be set before api() is used.
  void ForgetNewerCalls();

  // For the fake calls.
  static FakeDriver& Current();
  CUresult Enter(const char* call);
  void Adjust(const char* kind, int by);

 private:
  std::shared_ptr<const DriverApi> api_;
  std::mutex mutex_;  // of the two below
  std::vector<std::string> calls_;
  std::map<std::string, int> live_;
  size_t fail_index_ = static_cast<size_t>(-1);
  CUresult error_ = CUDA_SUCCESS;
  bool forever_ = false;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_TESTS_RUNTIME_FAKE_DRIVER_H_
