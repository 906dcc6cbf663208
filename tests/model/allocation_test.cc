// A step allocates nothing, neither on the host nor on the device.
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "gtest/gtest.h"
#include "model/transformer.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"

namespace {

// Allocations of the whole program; operator new can reach nothing but globals.
std::atomic<int64_t> host_allocations{0};

}  // namespace

// Not inlined: GCC 13 would see malloc and free through it and call the pair mismatched.
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++host_allocations;
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  std::abort();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace ptxsmith {
namespace {

// Counts the allocations of device memory, and the host's while the device behind it is at work:
// those are not the model's.
class CountingDevice : public Device {
 public:
  explicit CountingDevice(std::shared_ptr<Device> device) : device_(std::move(device)) {}

  int device_allocations() const { return device_allocations_; }
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
    return Inside([&] { return device_->RawAllocate(bytes, name); });
  }
  absl::Status RawFree(DevicePtr ptr) override {
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
    const int64_t before = host_allocations;
    std::invoke_result_t<Call> result = call();
    own_host_allocations_ += host_allocations - before;
    return result;
  }

  std::shared_ptr<Device> device_;
  int device_allocations_ = 0;
  int launches_ = 0;
  int graph_launches_ = 0;
  int uploads_ = 0;
  int64_t own_host_allocations_ = 0;
};

TEST(AllocationTest, StepsAllocateNothing) {
  ASSERT_OK_AND_ASSIGN(auto emulator, Device::Open("emu:sm90"));
  const auto device = std::make_shared<CountingDevice>(std::move(emulator));
  ModuleCache cache(device);
  const std::string bytes = Write(RandomModel{}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, cache, {}));
  EXPECT_GT(device->device_allocations(), 0) << "loading must be seen";
  ASSERT_OK(model->Step(0, /*want_logits=*/true));

  const int on_device = device->device_allocations();
  const int64_t model_before = host_allocations - device->own_host_allocations();
  absl::Status status;
  for (TokenId token = 1; token < 8; ++token) {
    status.Update(model->Step(token, /*want_logits=*/token % 2 == 1));
    if (token % 2 == 1) {
      status.Update(model->Greedy().status());
      status.Update(model->Logits().status());
    }
  }
  const int64_t model_after = host_allocations - device->own_host_allocations();
  EXPECT_OK(status);
  EXPECT_EQ(device->device_allocations(), on_device);
  EXPECT_EQ(model_after, model_before);
}

TEST(AllocationTest, DecodingATokenIsOneGraphLaunchAndNothingElse) {
  ASSERT_OK_AND_ASSIGN(auto emulator, Device::Open("emu:sm90"));
  const auto device = std::make_shared<CountingDevice>(std::move(emulator));
  ModuleCache cache(device);
  const std::string bytes = Write(RandomModel{}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, cache, {}));
  ASSERT_OK(model->Prompt({1, 2, 3}, /*want_logits=*/true));
  ASSERT_OK(model->Greedy());

  constexpr int kTokens = 10;
  const int on_device = device->device_allocations();
  const int launches = device->launches();
  const int graph_launches = device->graph_launches();
  const int uploads = device->uploads();
  const int64_t model_before = host_allocations - device->own_host_allocations();
  absl::Status status;
  for (int i = 0; i < kTokens; ++i) {
    status.Update(model->StepGreedy());
    status.Update(model->NextGreedy().status());
  }
  const int64_t model_after = host_allocations - device->own_host_allocations();
  EXPECT_OK(status);
  EXPECT_EQ(device->device_allocations(), on_device);
  EXPECT_EQ(device->launches(), launches);
  EXPECT_EQ(device->graph_launches(), graph_launches + kTokens);
  EXPECT_EQ(device->uploads(), uploads);
  EXPECT_EQ(model_after, model_before);
}

}  // namespace
}  // namespace ptxsmith
