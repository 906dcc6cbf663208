#include "runtime/device.h"

#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "codegen/status_macros.h"
#include "runtime/cuda_device.h"
#include "runtime/emu/emulator_device.h"
#include "runtime/graph.h"

namespace ptxsmith {
namespace {

constexpr int kAutoEmulatedSm = 90;

absl::StatusOr<std::shared_ptr<Device>> OpenNamed(absl::string_view name) {
  absl::string_view rest = name;
  if (absl::ConsumePrefix(&rest, "cuda:")) {
    int ordinal = 0;
    if (absl::SimpleAtoi(rest, &ordinal) && ordinal >= 0) return OpenCuda(ordinal);
  } else if (absl::ConsumePrefix(&rest, "emu:")) {
    PTXSMITH_ASSIGN_OR_RETURN(const Target target, Target::Parse(rest));
    return OpenEmulator(target);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "unknown device '", name, "'; known: auto, cuda:N (a GPU), emu:smXX (the CPU emulator)"));
}

absl::StatusOr<std::shared_ptr<Device>> OpenAuto(const DebugFlags& flags) {
  if (!flags.device.empty() && flags.device != "auto") return OpenNamed(flags.device);
  absl::StatusOr<std::shared_ptr<Device>> gpu = OpenCuda(0);
  // A GPU that is there but fails is not silently replaced by a machine a thousand times slower.
  if (!absl::IsUnavailable(gpu.status())) return gpu;
  if (flags.level >= 1) flags.log(absl::StrCat("no GPU: ", gpu.status().message()));
  PTXSMITH_ASSIGN_OR_RETURN(const Target target, Target::ForSm(kAutoEmulatedSm));
  return OpenEmulator(target);
}

absl::Status CheckRoom(absl::string_view what, uint64_t bytes, BufferView view) {
  if (bytes <= view.bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " of ", bytes, " bytes exceeds the buffer of ", view.bytes, " bytes"));
}

}  // namespace

Platform DeviceProfile::platform() const {
  return {name, emulated ? std::numeric_limits<int>::max() : driver_version, capability};
}

absl::Status DeviceProfile::Fits(const KernelSpec& kernel) const {
  const absl::Status text =
      CheckText(platform(), kernel.target, {kernel.version, kernel.version_needed_by});
  if (!text.ok()) return absl::Status(text.code(), absl::StrCat(kernel.key, ": ", text.message()));
  const uint64_t shared = uint64_t{kernel.static_shared} + kernel.dynamic_shared;
  if (shared <= max_shared) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(kernel.key, " needs ", shared,
                                                    " bytes of shared memory per block; ", name,
                                                    " has ", max_shared));
}

std::string DeviceProfile::ToString() const {
  std::string text =
      absl::StrFormat("%s: %s, %s, %d %s, %.1f GiB", name, description, target.sm_name(), sm_count,
                      emulated ? "threads" : "SMs", static_cast<double>(total_memory) / (1 << 30));
  if (driver_version != 0) {
    absl::StrAppendFormat(&text, ", driver for CUDA %d.%d (PTX up to %s)", driver_version / 1000,
                          driver_version % 1000 / 10, max_ptx.ToString());
  }
  return text;
}

absl::StatusOr<std::shared_ptr<Device>> Device::Open(absl::string_view name, DebugFlags flags) {
  absl::StatusOr<std::shared_ptr<Device>> device =
      name == "auto" ? OpenAuto(flags) : OpenNamed(name);
  if (!device.ok()) return device;
  if (flags.level >= 1) flags.log((*device)->profile().ToString());
  (*device)->SetDebug(std::move(flags));
  return device;
}

void Device::LogFailure(const absl::Status& status) const {
  if (status.ok() || (lost() && loss_logged_.exchange(true))) return;
  debug_.log(status.ToString());
}

absl::StatusOr<std::shared_ptr<const Module>> Device::LoadCubin(const KernelSpec& spec,
                                                                absl::string_view) {
  return absl::UnimplementedError(
      absl::StrCat(spec.key, ": ", profile().name, " runs PTX text, not machine code"));
}

absl::StatusOr<Buffer> Device::Allocate(uint64_t bytes, absl::string_view name) {
  if (bytes == 0) return Buffer(shared_from_this(), 0, 0);
  PTXSMITH_ASSIGN_OR_RETURN(const DevicePtr ptr, RawAllocate(bytes, name));
  return Buffer(shared_from_this(), ptr, bytes);
}

absl::StatusOr<HostBuffer> Device::AllocateHost(uint64_t bytes) {
  if (bytes == 0) return HostBuffer(shared_from_this(), nullptr, 0);
  PTXSMITH_ASSIGN_OR_RETURN(void* const data, RawAllocateHost(bytes));
  return HostBuffer(shared_from_this(), data, bytes);
}

absl::StatusOr<Stream> Device::NewStream() {
  PTXSMITH_ASSIGN_OR_RETURN(const Handle handle, RawNewStream());
  return Stream(shared_from_this(), handle);
}

absl::StatusOr<Event> Device::NewEvent() {
  PTXSMITH_ASSIGN_OR_RETURN(const Handle handle, RawNewEvent());
  return Event(shared_from_this(), handle);
}

// A moved-from handle has no device. Assignment frees the old value at once: buffers can be large.

Buffer::Buffer(Buffer&& other) noexcept
    : device_(std::move(other.device_)),
      ptr_(std::exchange(other.ptr_, 0)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  Buffer taken(std::move(other));
  std::swap(device_, taken.device_);
  std::swap(ptr_, taken.ptr_);
  std::swap(bytes_, taken.bytes_);
  return *this;
}

Buffer::~Buffer() {
  if (device_ != nullptr && bytes_ != 0) device_->LogFailure(device_->RawFree(ptr_));
}

HostBuffer::HostBuffer(HostBuffer&& other) noexcept
    : device_(std::move(other.device_)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

HostBuffer& HostBuffer::operator=(HostBuffer&& other) noexcept {
  HostBuffer taken(std::move(other));
  std::swap(device_, taken.device_);
  std::swap(data_, taken.data_);
  std::swap(bytes_, taken.bytes_);
  return *this;
}

HostBuffer::~HostBuffer() {
  if (device_ != nullptr && bytes_ != 0) device_->LogFailure(device_->RawFreeHost(data_));
}

Stream::Stream(Stream&& other) noexcept = default;

Stream Stream::Borrow(std::shared_ptr<Device> device, DeviceBackend::Handle handle) {
  Stream stream(std::move(device), handle);
  stream.borrowed_ = true;
  return stream;
}

Stream& Stream::operator=(Stream&& other) noexcept {
  Stream taken(std::move(other));
  std::swap(device_, taken.device_);
  std::swap(handle_, taken.handle_);
  std::swap(borrowed_, taken.borrowed_);
  return *this;
}

Stream::~Stream() {
  if (device_ == nullptr || borrowed_) return;
  device_->LogFailure(device_->RawSynchronize(handle_));
  device_->LogFailure(device_->RawDestroyStream(handle_));
}

absl::Status Stream::CheckNotRecorded(absl::string_view what, bool in_capture) const {
  if (recorder_ == nullptr || (in_capture && recorder_->capturing())) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      what, " while a graph ", recorder_->capturing() ? "is captured" : "of kernels is recorded",
      " from this stream"));
}

absl::Status Stream::Synchronize() {
  PTXSMITH_RETURN_IF_ERROR(CheckNotRecorded("synchronization", /*in_capture=*/false));
  return device_->RawSynchronize(handle_);
}

absl::Status Stream::CopyToDevice(BufferView to, const void* from, uint64_t bytes) {
  PTXSMITH_RETURN_IF_ERROR(CheckNotRecorded("copy to the device", /*in_capture=*/false));
  PTXSMITH_RETURN_IF_ERROR(CheckRoom("copy to the device", bytes, to));
  if (bytes == 0) return absl::OkStatus();
  return device_->RawCopyToDevice(handle_, to.ptr, from, bytes);
}

absl::Status Stream::CopyToHost(void* to, BufferView from, uint64_t bytes) {
  PTXSMITH_RETURN_IF_ERROR(CheckNotRecorded("copy to the host", /*in_capture=*/false));
  PTXSMITH_RETURN_IF_ERROR(CheckRoom("copy to the host", bytes, from));
  if (bytes == 0) return absl::OkStatus();
  return device_->RawCopyToHost(handle_, to, from.ptr, bytes);
}

absl::Status Stream::CopyOnDevice(BufferView to, BufferView from, uint64_t bytes) {
  PTXSMITH_RETURN_IF_ERROR(CheckNotRecorded("copy on the device", /*in_capture=*/true));
  PTXSMITH_RETURN_IF_ERROR(CheckRoom("copy (target)", bytes, to));
  PTXSMITH_RETURN_IF_ERROR(CheckRoom("copy (source)", bytes, from));
  if (bytes == 0) return absl::OkStatus();
  return device_->RawCopyOnDevice(handle_, to.ptr, from.ptr, bytes);
}

absl::Status Stream::Fill(BufferView to, uint8_t value) {
  PTXSMITH_RETURN_IF_ERROR(CheckNotRecorded("fill", /*in_capture=*/true));
  if (to.bytes == 0) return absl::OkStatus();
  return device_->RawFill(handle_, to.ptr, value, to.bytes);
}

Event::Event(Event&& other) noexcept = default;

Event& Event::operator=(Event&& other) noexcept {
  Event taken(std::move(other));
  std::swap(device_, taken.device_);
  std::swap(handle_, taken.handle_);
  return *this;
}

Event::~Event() {
  if (device_ != nullptr) device_->LogFailure(device_->RawDestroyEvent(handle_));
}

}  // namespace ptxsmith
