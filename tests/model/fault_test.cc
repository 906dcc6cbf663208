// A model on a driver that fails: whichever call it is, of loading, running or tearing down, and
// whatever it says, the answer is a Status, nothing leaks, and the device is as it was before or
// cleanly dead.
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/transformer.h"
#include "runtime/cuda_device.h"
#include "runtime/module_cache.h"
#include "tests/model/models.h"
#include "tests/runtime/fake_driver.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

// Everything that happens to a model on `device` up to the death of all but the device itself.
absl::Status UseModel(const GgufFile& file, const std::shared_ptr<Device>& device) {
  ModuleCache cache(device);
  TransformerOptions options;
  options.batch = 8;
  options.products = Products::kPlain;  // NVIDIA's library would find a GPU of its own
  PTXSMITH_ASSIGN_OR_RETURN(const std::unique_ptr<Transformer> model,
                            Transformer::Load(file, cache, options));
  PTXSMITH_RETURN_IF_ERROR(model->Prompt({1, 2, 3}, /*want_logits=*/true));
  PTXSMITH_RETURN_IF_ERROR(model->Logits().status());
  PTXSMITH_RETURN_IF_ERROR(model->Step(4, /*want_logits=*/true));
  PTXSMITH_RETURN_IF_ERROR(model->Greedy().status());
  PTXSMITH_RETURN_IF_ERROR(model->StepGreedy());
  return model->NextGreedy().status();
}

struct Outcome {
  absl::Status status;
  std::vector<std::string> logs;  // of destructors
  bool opened = false;
  bool lost = false;
  size_t calls = 0;         // of the driver until here
  absl::Status afterwards;  // of an allocation

  std::string said() const {
    std::string text = status.ToString() + "\n" + afterwards.ToString();
    for (const std::string& log : logs) text += "\n" + log;
    return text;
  }
};

// The same on a new device, which is asked for memory when it is over.
void UseDevice(const FakeDriver& fake, const GgufFile& file, Outcome& outcome) {
  const auto device = OpenCuda(0, fake.api());
  outcome.status = device.status();
  if (!device.ok()) return;
  outcome.opened = true;
  DebugFlags flags;
  flags.log = [&](absl::string_view text) { outcome.logs.emplace_back(text); };
  (*device)->SetDebug(flags);
  outcome.status = UseModel(file, *device);
  outcome.lost = (*device)->lost();
  outcome.calls = fake.calls().size();
  outcome.afterwards = (*device)->Allocate(64, "after").status();
}

struct Failure {
  const char* name;
  CUresult error;
  bool ends_context;

  friend void PrintTo(const Failure& failure, std::ostream* out) { *out << failure.name; }
};

class ModelFaultTest : public testing::TestWithParam<Failure> {};

TEST_P(ModelFaultTest, EachCallMayFail) {
  RandomModel shape;
  shape.blocks = 1;
  const std::string bytes = Write(shape).Build();
  ASSERT_OK_AND_ASSIGN(
      const GgufFile file,
      GgufFile::Parse({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}));
  Outcome clean;
  std::vector<std::string> calls;
  {
    FakeDriver fake;
    UseDevice(fake, file, clean);
    ASSERT_OK(clean.status);
    ASSERT_OK(clean.afterwards);
    ASSERT_THAT(clean.logs, IsEmpty());
    ASSERT_THAT(fake.Live(), IsEmpty());
    calls = fake.calls();
  }
  ASSERT_GT(calls.size(), 200u);
  const std::string code = "(" + std::to_string(GetParam().error) + ")";
  for (size_t i = 0; i < calls.size(); ++i) {
    SCOPED_TRACE(std::to_string(i) + ": " + calls[i]);
    FakeDriver fake;
    fake.FailAt(i, GetParam().error, GetParam().ends_context);
    Outcome outcome;
    UseDevice(fake, file, outcome);
    ASSERT_THAT(fake.Live(), IsEmpty());
    ASSERT_THAT(outcome.said(), AllOf(HasSubstr(calls[i]), HasSubstr(code)));
    if (!outcome.opened) continue;
    if (GetParam().ends_context) {
      ASSERT_LE(outcome.logs.size(), 1u) << outcome.said();
      if (i < clean.calls) {
        ASSERT_TRUE(outcome.lost && !outcome.afterwards.ok());
      }
    } else {
      ASSERT_FALSE(outcome.lost);
      if (i < clean.calls) {
        ASSERT_OK(outcome.afterwards);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Errors, ModelFaultTest,
                         testing::Values(Failure{"OutOfMemory", CUDA_ERROR_OUT_OF_MEMORY, false},
                                         Failure{"IllegalAddress", CUDA_ERROR_ILLEGAL_ADDRESS,
                                                 true},
                                         Failure{"Unknown", CUDA_ERROR_UNKNOWN, false}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ptxsmith
