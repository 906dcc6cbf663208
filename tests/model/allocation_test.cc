// A step allocates nothing, neither on the host nor on the device.
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "model/transformer.h"
#include "tests/model/counting_device.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

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
  const int64_t model_before = HostAllocations() - device->own_host_allocations();
  absl::Status status;
  for (TokenId token = 1; token < 8; ++token) {
    status.Update(model->Step(token, /*want_logits=*/token % 2 == 1));
    if (token % 2 == 1) {
      status.Update(model->Greedy().status());
      status.Update(model->Logits().status());
    }
  }
  const int64_t model_after = HostAllocations() - device->own_host_allocations();
  EXPECT_OK(status);
  EXPECT_EQ(device->device_allocations(), on_device);
  EXPECT_EQ(model_after, model_before);
}

// Greedily and at random.
class DecodingAllocationTest : public testing::TestWithParam<float> {};

TEST_P(DecodingAllocationTest, ATokenIsOneGraphLaunchAndNothingElse) {
  ASSERT_OK_AND_ASSIGN(auto emulator, Device::Open("emu:sm90"));
  const auto device = std::make_shared<CountingDevice>(std::move(emulator));
  ModuleCache cache(device);
  const std::string bytes = Write(RandomModel{}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, cache, {}));
  ASSERT_OK(model->SetSampling(
      {.temperature = GetParam(), .penalty = GetParam() == 0 ? 1.0f : 1.1f}, {}));
  ASSERT_OK(model->Prompt({1, 2, 3}, /*want_logits=*/true));
  ASSERT_OK(model->Greedy());

  constexpr int kTokens = 10;
  const int on_device = device->device_allocations();
  const int launches = device->launches();
  const int graph_launches = device->graph_launches();
  const int uploads = device->uploads();
  const int64_t model_before = HostAllocations() - device->own_host_allocations();
  absl::Status status;
  for (int i = 0; i < kTokens; ++i) {
    status.Update(model->StepGreedy());
    status.Update(model->NextGreedy().status());
  }
  const int64_t model_after = HostAllocations() - device->own_host_allocations();
  EXPECT_OK(status);
  EXPECT_EQ(device->device_allocations(), on_device);
  EXPECT_EQ(device->launches(), launches);
  EXPECT_EQ(device->graph_launches(), graph_launches + kTokens);
  EXPECT_EQ(device->uploads(), uploads);
  EXPECT_EQ(model_after, model_before);
}

INSTANTIATE_TEST_SUITE_P(, DecodingAllocationTest, testing::Values(0.0f, 1.0f),
                         [](const auto& info) {
                           return std::string(info.param == 0 ? "Greedy" : "Sampled");
                         });

}  // namespace
}  // namespace ptxsmith
