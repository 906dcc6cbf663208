// A machine that runs kernels: a GPU through the CUDA driver ("cuda:0") or the CPU emulator of the
// PTX text ("emu:sm90"). Everything above this header is blind to which one it is.
//
//   PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<Device> device, Device::Open("auto"));
//   PTXSMITH_ASSIGN_OR_RETURN(Buffer x, device->Allocate(4096, "x"));
//   PTXSMITH_ASSIGN_OR_RETURN(Stream stream, device->NewStream());
//
// Thread-safety: a Device, its profile and its modules may be used from any thread. A Buffer,
// Stream or Event belongs to one thread at a time; work on one stream runs in order.
//
// Lifetime: Buffer, Stream, Event, Graph and Module keep their device alive, so destruction order
// is free.
//
// Errors: no driver or no such GPU Unavailable; out of memory ResourceExhausted; an illegal access
// or any other fault of a kernel Internal (on a GPU such a fault ends the device object: later
// calls repeat it, see Device::lost); a request beyond the limits of the device FailedPrecondition.
#ifndef PTXSMITH_RUNTIME_DEVICE_H_
#define PTXSMITH_RUNTIME_DEVICE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "codegen/kernel_spec.h"
#include "codegen/negotiate.h"
#include "codegen/target.h"
#include "runtime/debug_flags.h"

namespace ptxsmith {

class Buffer;
class Device;
class Event;
class GraphRecorder;
class HostBuffer;
class Stream;

// An address in a device's memory. Not dereferenceable on the host.
using DevicePtr = uint64_t;

// What a device is. Immutable after Open.
struct DeviceProfile {
  std::string name;         // "cuda:0", "emu:sm90"
  std::string description;  // "NVIDIA H200", "PTX emulator"
  Target target;            // what kernels for it should be generated for
  bool emulated = false;
  bool dry = false;           // runs nothing: see dry_device.h
  int capability = 0;         // compute capability: 90 for 9.0; `target` may be an older one
  int driver_version = 0;     // CUDA version of the driver, 13000 for 13.0; 0 on the emulator
  PtxVersion max_ptx;         // newest `.version` it loads
  uint32_t sm_count = 1;      // multiprocessors; host threads on the emulator
  uint32_t max_shared = 0;    // bytes per block with opt-in
  uint64_t total_memory = 0;  // bytes
  uint64_t l2_bytes = 0;

  // What decides on a text. The emulator knows every version of PTX.
  Platform platform() const;
  // Whether the device can load the kernel at all; FailedPrecondition names what it exceeds.
  absl::Status Fits(const KernelSpec& kernel) const;
  // One line for people: "cuda:0: NVIDIA H200, sm_90, 132 SMs, ...".
  std::string ToString() const;
};

// Registers, spills and time of one compilation, as far as the device tells.
struct CompileInfo {
  double milliseconds = 0;         // load of the text or code to a callable function
  bool from_driver_cache = false;  // the driver had compiled this text in an earlier run
  int registers = 0;               // per thread
  int spill_bytes = 0;             // local memory per thread
  std::string log;                 // the compiler's own words
};

// A kernel compiled for one device. Immutable and shareable between threads.
class Module {
 public:
  virtual ~Module() = default;
  virtual const KernelSpec& spec() const = 0;
  virtual const CompileInfo& info() const = 0;
  virtual const std::shared_ptr<Device>& device() const = 0;
};

// Geometry and arguments of one launch in the driver's form: params[i] points at the value of
// parameter i (8 bytes for a pointer, 4 for a scalar).
struct RawLaunch {
  const Module* module = nullptr;
  std::array<uint32_t, 3> grid = {1, 1, 1};
  uint32_t dynamic_shared = 0;
  void* const* params = nullptr;
};

// The interface of a device's back end. Users call Device; only Stream, Event and Buffer call this.
// Handles are opaque to the caller. Work on a stream is ordered; host memory given to a copy must
// stay valid until the stream is synchronized.
class DeviceBackend {
 public:
  using Handle = uint64_t;

  virtual ~DeviceBackend() = default;
  // Makes the device's context current on the calling thread, where other libraries of CUDA look
  // for one. Unavailable on a device without.
  virtual absl::Status RawEnterContext() = 0;
  virtual absl::StatusOr<DevicePtr> RawAllocate(uint64_t bytes, absl::string_view name) = 0;
  virtual absl::Status RawFree(DevicePtr ptr) = 0;
  // Pages of the host that stay where they are: copies from and to them need no detour.
  virtual absl::StatusOr<void*> RawAllocateHost(uint64_t bytes) = 0;
  virtual absl::Status RawFreeHost(void* memory) = 0;

  virtual absl::StatusOr<Handle> RawNewStream() = 0;
  virtual absl::Status RawDestroyStream(Handle stream) = 0;
  virtual absl::Status RawSynchronize(Handle stream) = 0;
  virtual absl::Status RawCopyToDevice(Handle stream, DevicePtr to, const void* from,
                                       uint64_t bytes) = 0;
  virtual absl::Status RawCopyToHost(Handle stream, void* to, DevicePtr from, uint64_t bytes) = 0;
  virtual absl::Status RawCopyOnDevice(Handle stream, DevicePtr to, DevicePtr from,
                                       uint64_t bytes) = 0;
  virtual absl::Status RawFill(Handle stream, DevicePtr to, uint8_t value, uint64_t bytes) = 0;
  virtual absl::Status RawLaunchKernel(Handle stream, const RawLaunch& launch) = 0;

  virtual absl::StatusOr<Handle> RawNewEvent() = 0;
  virtual absl::Status RawDestroyEvent(Handle event) = 0;
  virtual absl::Status RawRecord(Handle event, Handle stream) = 0;
  virtual absl::Status RawWait(Handle stream, Handle event) = 0;  // the stream waits for the event
  virtual absl::Status RawAwait(Handle event) = 0;                // the caller waits for the event
  virtual absl::StatusOr<double> RawElapsedMs(Handle begin, Handle end) = 0;  // waits for `end`

  // Between these two, work put on the stream by this thread goes into a graph instead of running.
  // EndCapture ends the capture whether it fails or not.
  virtual absl::Status RawBeginCapture(Handle stream) = 0;
  virtual absl::StatusOr<Handle> RawEndCapture(Handle stream) = 0;
  // A graph of these launches, each after the one before it.
  virtual absl::StatusOr<Handle> RawBuildGraph(absl::Span<const RawLaunch> launches) = 0;
  virtual absl::Status RawDestroyGraph(Handle graph) = 0;
  virtual absl::Status RawLaunchGraph(Handle stream, Handle graph) = 0;
};

class Device : public DeviceBackend, public std::enable_shared_from_this<Device> {
 public:
  // "cuda:N", "emu:smXX", or "auto": what `flags.device` names, else the first GPU, else the
  // emulator of sm_90. InvalidArgument names what is known when the text is neither; Unavailable
  // says why a GPU cannot be had.
  static absl::StatusOr<std::shared_ptr<Device>> Open(absl::string_view name,
                                                      DebugFlags flags = DebugFlags());

  virtual const DeviceProfile& profile() const = 0;

  // Whether a fault has ended this device: every later call fails at once, repeating the fault.
  // Other devices live on, except those of the same GPU: the driver keeps the fault until the
  // process ends. The emulator can be opened again.
  virtual bool lost() const { return false; }

  const DebugFlags& debug() const { return debug_; }
  // Done by Open. REQUIRES: nobody else uses the device yet.
  void SetDebug(DebugFlags flags) { debug_ = std::move(flags); }
  // For destructors, which have nobody to return a failure to. That a device is lost is said once.
  void LogFailure(const absl::Status& status) const;

  // Uninitialised memory, aligned to 256 bytes. `bytes` may be 0. `name` appears in diagnostics.
  absl::StatusOr<Buffer> Allocate(uint64_t bytes, absl::string_view name);
  // Uninitialised pinned memory of the host. `bytes` may be 0.
  absl::StatusOr<HostBuffer> AllocateHost(uint64_t bytes);
  absl::StatusOr<Stream> NewStream();
  absl::StatusOr<Event> NewEvent();

  // Compiles the kernel. Slow (milliseconds): go through ModuleCache. A text the device refuses
  // gives InvalidArgument with the compiler's log, each line it names shown with the C++ that
  // emitted it.
  virtual absl::StatusOr<std::shared_ptr<const Module>> Load(const KernelSpec& spec) = 0;
  // The same without the compiler's optimisations, where there is a compiler: a kernel that then
  // gives something else is wrong, or the compiler is.
  virtual absl::StatusOr<std::shared_ptr<const Module>> LoadUnoptimized(const KernelSpec& spec) {
    return Load(spec);
  }

  // The same from what a PtxCompiler made of `spec.ptx`: microseconds. Unimplemented on a device
  // that runs the text itself.
  virtual absl::StatusOr<std::shared_ptr<const Module>> LoadCubin(const KernelSpec& spec,
                                                                  absl::string_view cubin);

 private:
  DebugFlags debug_;
  mutable std::atomic<bool> loss_logged_ = false;
};

// Device memory, freed on destruction. Move-only.
class Buffer {
 public:
  Buffer() = default;
  Buffer(std::shared_ptr<Device> device, DevicePtr ptr, uint64_t bytes)
      : device_(std::move(device)), ptr_(ptr), bytes_(bytes) {}
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  DevicePtr ptr() const { return ptr_; }
  uint64_t bytes() const { return bytes_; }
  const std::shared_ptr<Device>& device() const { return device_; }

 private:
  std::shared_ptr<Device> device_;  // null: empty
  DevicePtr ptr_ = 0;
  uint64_t bytes_ = 0;
};

// Pinned memory of the host, freed on destruction: the staging place of copies that shall run
// beside other work. Move-only.
class HostBuffer {
 public:
  HostBuffer() = default;
  HostBuffer(std::shared_ptr<Device> device, void* data, uint64_t bytes)
      : device_(std::move(device)), data_(data), bytes_(bytes) {}
  HostBuffer(HostBuffer&& other) noexcept;
  HostBuffer& operator=(HostBuffer&& other) noexcept;
  ~HostBuffer();

  void* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<Device> device_;
  void* data_ = nullptr;
  uint64_t bytes_ = 0;
};

// A part of a buffer, or a whole one: what kernels are bound to. Does not own.
struct BufferView {
  DevicePtr ptr = 0;
  uint64_t bytes = 0;

  BufferView() = default;
  BufferView(DevicePtr p, uint64_t n) : ptr(p), bytes(n) {}
  BufferView(const Buffer& buffer)  // NOLINT(google-explicit-constructor)
      : ptr(buffer.ptr()), bytes(buffer.bytes()) {}

  // REQUIRES: offset + length <= bytes.
  BufferView Slice(uint64_t offset, uint64_t length) const { return {ptr + offset, length}; }
};

// An ordered queue of work, destroyed (after its work has run) on destruction. Move-only.
class Stream {
 public:
  Stream() = default;
  Stream(std::shared_ptr<Device> device, DeviceBackend::Handle handle)
      : device_(std::move(device)), handle_(handle) {}
  // A stream of the host program, in the form of the device's driver (a CUstream). It is neither
  // destroyed nor waited for and must outlive the result.
  static Stream Borrow(std::shared_ptr<Device> device, DeviceBackend::Handle handle);
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&& other) noexcept;
  ~Stream();

  // Waits for all work. Reports the first fault since the last call.
  absl::Status Synchronize();

  // Copies; InvalidArgument when `to` or `from` is too small. Host memory must stay valid until
  // Synchronize. FailedPrecondition while a graph is recorded that cannot hold them (graph.h).
  absl::Status CopyToDevice(BufferView to, const void* from, uint64_t bytes);
  absl::Status CopyToHost(void* to, BufferView from, uint64_t bytes);
  absl::Status CopyOnDevice(BufferView to, BufferView from, uint64_t bytes);
  absl::Status Fill(BufferView to, uint8_t value);

  const std::shared_ptr<Device>& device() const { return device_; }
  DeviceBackend::Handle handle() const { return handle_; }
  // Where launches go while a graph is recorded, else null. Set by Graph::Record.
  GraphRecorder* recorder() const { return recorder_; }

 private:
  friend class Graph;

  // FailedPrecondition when a graph is being recorded; with `in_capture` only when it is one that
  // holds nothing but kernels.
  absl::Status CheckNotRecorded(absl::string_view what, bool in_capture) const;

  std::shared_ptr<Device> device_;
  DeviceBackend::Handle handle_ = 0;
  bool borrowed_ = false;
  GraphRecorder* recorder_ = nullptr;
};

// A point in a stream's work. Move-only.
class Event {
 public:
  Event() = default;
  Event(std::shared_ptr<Device> device, DeviceBackend::Handle handle)
      : device_(std::move(device)), handle_(handle) {}
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;
  ~Event();

  absl::Status Record(const Stream& stream) { return device_->RawRecord(handle_, stream.handle()); }
  absl::Status Wait(const Stream& stream) { return device_->RawWait(stream.handle(), handle_); }
  // The calling thread waits.
  absl::Status Await() const { return device_->RawAwait(handle_); }
  // Milliseconds from `begin` to this event; both recorded. Waits for this event.
  absl::StatusOr<double> MsSince(const Event& begin) const {
    return device_->RawElapsedMs(begin.handle_, handle_);
  }

 private:
  std::shared_ptr<Device> device_;
  DeviceBackend::Handle handle_ = 0;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_DEVICE_H_
