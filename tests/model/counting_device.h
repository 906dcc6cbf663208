// Counts the allocations of the whole test program and, as a device around another one, those on
// the device, launches and uploads: for tests of what a step costs. Thread-safety: that of the
// device.
//
//   const auto device = std::make_shared<CountingDevice>(*Device::Open("emu:sm90"));
//   ... EXPECT_EQ(device->device_allocations(), before);
#ifndef PTXSMITH_TESTS_MODEL_COUNTING_DEVICE_H_
#define PTXSMITH_TESTS_MODEL_COUNTING_DEVICE_H_

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "runtime/device.h"

namespace ptxsmith {

int64_t HostAllocations();      // so far
int64_t LiveHostAllocations();  // not yet freed

// Counts the allocations of device memory, and the host's while the device behind it is at work:
// those are not the model's.
class CountingDevice : public Device {
 public:
  explicit CountingDevice(std::shared_ptr<Device> device) : device_(std::move(device)) {}

  int device_allocations() const { return device_allocations_; }
  int live_device_allocations() const { return live_device_allocations_; }
  int64_t own_host_allocations() const { return own_host_allocations_; }
  int launches() const { return launches_; }
  int graph_launches() const { return graph_launches_; }
  int uploads() const { return uploads_; }

  const DeviceProfile& profile() const override { return device_->profile(); }
  absl::StatusOr<std::shared_ptr<const Module>> Load(const KernelSpec& spec) override {
    return Inside([&] { return device_->Load(spec); });
  }
  absl::Status RawEnterContext() override { return device_->RawEnterContext(); }
  absl::StatusOr<DevicePtr> RawAllocate(uint64_t bytes, absl::string_view name) override {
    ++device_allocations_;
    ++live_device_allocations_;
    return Inside([&] { return device_->RawAllocate(bytes, name); });
  }
  absl::Status RawFree(DevicePtr ptr) override {
    --live_device_allocations_;
    return Inside([&] { return device_->RawFree(ptr); });
  }
  absl::StatusOr<Handle> RawNewStream() override {
    return Inside([&] { return device_->RawNewStream(); });
  }
  absl::Status RawDestroyStream(Handle stream) override {
    return Inside([&] { return device_->RawDestroyStream(stream); });
  }
  absl::Status RawSynchronize(Handle stream) override {
    return Inside([&] { return device_->RawSynchronize(stream); });
  }
  absl::Status RawCopyToDevice(Handle stream, DevicePtr to, const void* from,
                               uint64_t bytes) override {
    ++uploads_;
    return Inside([&] { return device_->RawCopyToDevice(stream, to, from, bytes); });
  }
  absl::Status RawCopyToHost(Handle stream, void* to, DevicePtr from, uint64_t bytes) override {
    return Inside([&] { return device_->RawCopyToHost(stream, to, from, bytes); });
  }
  absl::Status RawCopyOnDevice(Handle stream, DevicePtr to, DevicePtr from,
                               uint64_t bytes) override {
    return Inside([&] { return device_->RawCopyOnDevice(stream, to, from, bytes); });
  }
  absl::Status RawFill(Handle stream, DevicePtr to, uint8_t value, uint64_t bytes) override {
    return Inside([&] { return device_->RawFill(stream, to, value, bytes); });
  }
  absl::Status RawLaunchKernel(Handle stream, const RawLaunch& launch) override {
    ++launches_;
    return Inside([&] { return device_->RawLaunchKernel(stream, launch); });
  }
  absl::StatusOr<void*> RawAllocateHost(uint64_t bytes) override {
    return Inside([&] { return device_->RawAllocateHost(bytes); });
  }
  absl::Status RawFreeHost(void* memory) override { return device_->RawFreeHost(memory); }
  absl::Status RawBeginCapture(Handle stream) override {
    return Inside([&] { return device_->RawBeginCapture(stream); });
  }
  absl::StatusOr<Handle> RawEndCapture(Handle stream) override {
    return Inside([&] { return device_->RawEndCapture(stream); });
  }
  absl::StatusOr<Handle> RawBuildGraph(absl::Span<const RawLaunch> launches) override {
    return Inside([&] { return device_->RawBuildGraph(launches); });
  }
  absl::Status RawDestroyGraph(Handle graph) override { return device_->RawDestroyGraph(graph); }
  absl::Status RawLaunchGraph(Handle stream, Handle graph) override {
    ++graph_launches_;
    return Inside([&] { return device_->RawLaunchGraph(stream, graph); });
  }
  absl::StatusOr<Handle> RawNewEvent() override { return device_->RawNewEvent(); }
  absl::Status RawDestroyEvent(Handle event) override { return device_->RawDestroyEvent(event); }
  absl::Status RawRecord(Handle event, Handle stream) override {
    return device_->RawRecord(event, stream);
  }
  absl::Status RawWait(Handle stream, Handle event) override {
    return device_->RawWait(stream, event);
  }
  absl::Status RawAwait(Handle event) override { return device_->RawAwait(event); }
  absl::StatusOr<double> RawElapsedMs(Handle begin, Handle end) override {
    return device_->RawElapsedMs(begin, end);
  }

 private:
  template <class Call>
  std::invoke_result_t<Call> Inside(Call&& call) {
    const int64_t before = HostAllocations();
    std::invoke_result_t<Call> result = call();
    own_host_allocations_ += HostAllocations() - before;
    return result;
  }

  std::shared_ptr<Device> device_;
  int device_allocations_ = 0;
  int live_device_allocations_ = 0;
  int launches_ = 0;
  int graph_launches_ = 0;
  int uploads_ = 0;
  int64_t own_host_allocations_ = 0;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_TESTS_MODEL_COUNTING_DEVICE_H_
