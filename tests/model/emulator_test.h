// What tests of models on the emulator begin with: a cache of kernels, and models from what is
// written.
//
//   class GenerateTest : public EmulatorTest { ... };
//   ASSERT_OK_AND_ASSIGN(const auto model, Load(Write(RandomModel{})));
#ifndef PTXSMITH_TESTS_MODEL_EMULATOR_TEST_H_
#define PTXSMITH_TESTS_MODEL_EMULATOR_TEST_H_

#include <cstdint>
#include <memory>
#include <string>

#include "codegen/status_macros.h"
#include "gtest/gtest.h"
#include "model/transformer.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {

class EmulatorTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(const auto device, Device::Open("emu:sm90"));
    cache_ = std::make_unique<ModuleCache>(device);
  }

  absl::StatusOr<std::unique_ptr<Transformer>> Load(const GgufWriter& writer,
                                                    const TransformerOptions& options = {}) {
    const std::string bytes = writer.Build();
    PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
    return Transformer::Load(file, *cache_, options);
  }

  std::unique_ptr<ModuleCache> cache_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_TESTS_MODEL_EMULATOR_TEST_H_
