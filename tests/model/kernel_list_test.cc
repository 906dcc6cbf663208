#include "model/kernel_list.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/module_cache.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

// The list is complete and has nothing too much: after it, loading the model builds nothing.
TEST(KernelListTest, AfterPrefetchNothingIsBuilt) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(*SamplePath("q4_k_m")));
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<Device> device, Device::Open("emu:sm90"));
  TransformerOptions options;
  options.context = 32;
  options.batch = 8;
  options.dense_rows = 8;
  const std::vector<TokenId> few = {1, 2, 3};
  const std::vector<TokenId> many(options.batch, 5);
  ASSERT_OK_AND_ASSIGN(const std::vector<KernelSpec> kernels,
                       KernelsOf(file, device->profile(), options));
  ModuleCache cache(device);
  ASSERT_OK(cache.Prefetch(kernels, 2, [](size_t, size_t) {}));
  const uint64_t built = cache.stats().builds;
  EXPECT_EQ(built, kernels.size());
  ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, cache, options));
  ASSERT_OK(model->Prompt(few, /*want_logits=*/true));
  ASSERT_OK(model->Prompt(many, /*want_logits=*/true));
  ASSERT_OK(model->Step(4, /*want_logits=*/true));
  ASSERT_OK(model->StepGreedy());
  EXPECT_EQ(cache.stats().builds, built) << "compiled after loading";

  ModuleCache without(device);
  ASSERT_OK_AND_ASSIGN(const auto other, Transformer::Load(file, without, options));
  ASSERT_OK(other->Prompt(few, /*want_logits=*/true));
  ASSERT_OK(other->Prompt(many, /*want_logits=*/true));
  EXPECT_EQ(without.stats().builds, built) << "the list holds what nobody needs";
}

TEST(KernelListTest, HoldsShortPromptsBesideOtherSequences) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(*SamplePath("q4_k_m")));
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<Device> device, Device::Open("emu:sm90"));
  TransformerOptions options;
  options.context = 48;
  options.slots = 2;
  options.lowering = LoweringChoice::kTiled;
  ASSERT_OK_AND_ASSIGN(const std::vector<KernelSpec> kernels,
                       KernelsOf(file, device->profile(), options));
  ModuleCache cache(device);
  ASSERT_OK(cache.Prefetch(kernels, 2, [](size_t, size_t) {}));
  ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, cache, options));
  ASSERT_OK(model->Prompt(std::vector<TokenId>(5, 7), /*want_logits=*/true));
  ASSERT_OK(model->Prompt(std::vector<TokenId>(39, 7), /*want_logits=*/true));
  EXPECT_EQ(cache.stats().builds, kernels.size()) << "compiled after loading";
}

TEST(KernelListTest, HoldsWhatSamplesWhenAsked) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(*SamplePath("q4_k_m")));
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<Device> device, Device::Open("emu:sm90"));
  TransformerOptions options;
  options.context = 32;
  const SamplerOptions sampling = {.temperature = 0.7f, .penalty = 1.2f};
  ASSERT_OK_AND_ASSIGN(const std::vector<KernelSpec> kernels,
                       KernelsOf(file, device->profile(), options, sampling));
  ModuleCache cache(device);
  ASSERT_OK(cache.Prefetch(kernels, 2, [](size_t, size_t) {}));
  ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, cache, options));
  const std::vector<TokenId> prompt = {1, 2, 3};
  ASSERT_OK(model->Prompt(prompt, /*want_logits=*/true));
  ASSERT_OK(model->SetSampling(sampling, prompt));
  ASSERT_OK(model->StepGreedy());
  EXPECT_EQ(cache.stats().builds, kernels.size()) << "compiled after loading";
}

TEST(KernelListTest, FailsAsLoadingDoes) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(*SamplePath("q4_k_m")));
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<Device> device, Device::Open("emu:sm90"));
  TransformerOptions options;
  options.context = 1 << 30;
  EXPECT_THAT(KernelsOf(file, device->profile(), options),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("a context of")));
}

}  // namespace
}  // namespace ptxsmith
