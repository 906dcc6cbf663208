#include "tests/model/hostile_files.h"

#include <set>
#include <string>

#include "absl/strings/match.h"
#include "model/gguf.h"
#include "tests/model/gguf_writer.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

TEST(HostileFilesTest, EachIsRefusedWithItsMessage) {
  std::set<std::string> names;
  for (const HostileFile& file : HostileFiles()) {
    SCOPED_TRACE(file.name);
    EXPECT_TRUE(names.insert(file.name).second) << "two files of this name";
    // A copy of exactly this size, so that sanitizers see any read beyond it.
    const std::vector<uint8_t> bytes(file.bytes.begin(), file.bytes.end());
    EXPECT_THAT(OpenAll(bytes), StatusIs(file.code, HasSubstr(file.message)));
    // What is wrong with the container is told with the place.
    const absl::Status container = GgufFile::Parse(bytes).status();
    if (!container.ok()) {
      EXPECT_TRUE(absl::StartsWith(container.message(), "GGUF byte ") ||
                  absl::StartsWith(container.message(), "GGUF: '"))
          << container;
    }
  }
  EXPECT_GT(names.size(), 200u);
}

TEST(HostileFilesTest, TheFileBehindThemIsFine) {
  const std::string bytes = CompleteModel().Build();
  EXPECT_OK(OpenAll(Bytes(bytes)));
}

TEST(HostileFilesTest, TruncationAtEveryByte) {
  const std::string valid = TinyModel().Build();
  for (size_t size = 0; size < valid.size(); ++size) {
    const std::vector<uint8_t> bytes(valid.begin(), valid.begin() + size);
    ASSERT_FALSE(OpenAll(bytes).ok()) << size;
  }
}

}  // namespace
}  // namespace ptxsmith
