// The order of the rooms (CONTRIBUTING.md): every #include of ours points along the table below,
// the top level holds nothing but what is listed, and no file grows beyond its limit. The linker
// checks the same for code; headers alone would slip past it.
#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"

namespace ptxsmith {
namespace {

namespace fs = std::filesystem;

// What the files of a room may include: whole rooms ("model/") or single headers. A room may
// always include itself; tests may include everything.
const std::map<std::string, std::vector<std::string>> kMayInclude = {
    {"codegen", {}},
    {"ptx_templates", {"codegen/"}},
    {"runtime",
     {"codegen/kernel_spec.h", "codegen/target.h", "codegen/size_expr.h", "codegen/source_loc.h",
      "codegen/status_macros.h", "codegen/negotiate.h"}},
    {"model", {"runtime/", "ptx_templates/", "codegen/"}},
    {"tools", {"model/", "runtime/", "ptx_templates/", "codegen/"}},
    {"tests", {"tools/", "model/", "runtime/", "ptx_templates/", "codegen/"}},
};

// References share no code with what they check; only the table of type names and block sizes.
constexpr absl::string_view kReferenceRoom = "tools/fuzz/reference/";
const std::vector<std::string> kReferenceMayInclude = {"tools/fuzz/reference/",
                                                       "ptx_templates/quant_type.h"};

// Besides the rooms and what .gitignore names.
const std::set<std::string> kTopLevelFiles = {
    "CMakeLists.txt", "CMakePresets.json", "CONTRIBUTING.md", "LICENSE", "README.md", ".ci",
    ".clang-format",  ".clang-tidy",       ".gitignore",      ".git",
};

constexpr int kMaxLines = 600;

struct Source {
  std::string path;  // relative to the root: "codegen/target.h"
  std::vector<std::string> lines;
};

std::vector<Source> Sources() {
  const fs::path root = PTXSMITH_SOURCE_DIR;
  std::vector<Source> sources;
  for (const auto& [room, allowed] : kMayInclude) {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / room)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cc") continue;
      Source source{fs::relative(entry.path(), root).generic_string(), {}};
      std::ifstream file(entry.path());
      for (std::string line; std::getline(file, line);) source.lines.push_back(line);
      sources.push_back(std::move(source));
    }
  }
  return sources;
}

bool StartsWithAny(absl::string_view text, const std::vector<std::string>& prefixes) {
  for (const std::string& prefix : prefixes) {
    if (absl::StartsWith(text, prefix)) return true;
  }
  return false;
}

// The header of `#include "header"`, or empty for any other line.
absl::string_view QuotedInclude(absl::string_view line) {
  constexpr absl::string_view kStart = "#include \"";
  if (!absl::StartsWith(line, kStart)) return {};
  line.remove_prefix(kStart.size());
  return line.substr(0, line.find('"'));
}

// Whether the file may include the header. Headers of no room of ours are libraries'.
bool MayInclude(absl::string_view file, absl::string_view header) {
  if (kMayInclude.count(std::string(header.substr(0, header.find('/')))) == 0) return true;
  if (absl::StartsWith(file, kReferenceRoom)) {
    return StartsWithAny(header, kReferenceMayInclude);
  }
  const std::string room(file.substr(0, file.find('/')));
  return absl::StartsWith(header, room + "/") || StartsWithAny(header, kMayInclude.at(room));
}

TEST(LayeringTest, IncludesFollowTheOrderOfTheRooms) {
  const std::vector<Source> sources = Sources();
  ASSERT_GT(sources.size(), 20u) << "no sources below " << PTXSMITH_SOURCE_DIR;
  for (const Source& source : sources) {
    for (size_t i = 0; i < source.lines.size(); ++i) {
      const absl::string_view header = QuotedInclude(source.lines[i]);
      EXPECT_TRUE(MayInclude(source.path, header))
          << source.path << ":" << i + 1 << ": may not include " << header;
    }
  }
}

TEST(LayeringTest, TheTableRefusesWhatItShould) {
  EXPECT_FALSE(MayInclude("codegen/val.h", "runtime/device.h"));
  EXPECT_FALSE(MayInclude("runtime/emu/warp.h", "codegen/kernel_builder.h"));
  EXPECT_TRUE(MayInclude("runtime/emu/warp.h", "codegen/kernel_spec.h"));
  EXPECT_FALSE(MayInclude("ptx_templates/gemv.h", "runtime/device.h"));
  EXPECT_FALSE(MayInclude("model/gguf.h", "tools/cmd_run.h"));
  EXPECT_FALSE(MayInclude("tools/main.cc", "tests/util/files.h"));
  EXPECT_FALSE(MayInclude("tools/fuzz/reference/decode.h", "ptx_templates/gemv.h"));
  EXPECT_TRUE(MayInclude("tests/runtime/launch_test.cc", "ptx_templates/gemv.h"));
  EXPECT_TRUE(MayInclude("codegen/val.h", "absl/status/status.h"));
  EXPECT_EQ(QuotedInclude("#include \"codegen/val.h\"  // why"), "codegen/val.h");
  EXPECT_EQ(QuotedInclude("#include <vector>"), "");
}

// A quoted include without a folder would be found relative to the file and escape the table.
TEST(LayeringTest, IncludesNameTheirRoom) {
  const std::set<std::string> libraries = {"cuda.h", "nvrtc.h", "cublas_v2.h", "cublasLt.h",
                                           "xxhash.h"};
  for (const Source& source : Sources()) {
    for (const std::string& line : source.lines) {
      const std::string header(QuotedInclude(line));
      if (header.empty() || libraries.count(header) != 0) continue;
      EXPECT_TRUE(absl::StrContains(header, '/')) << source.path << ": " << line;
      EXPECT_FALSE(absl::StartsWith(header, ".")) << source.path << ": " << line;
    }
  }
}

TEST(LayeringTest, NoFileIsTooLong) {
  for (const Source& source : Sources()) {
    EXPECT_LE(source.lines.size(), static_cast<size_t>(kMaxLines)) << source.path;
  }
}

TEST(LayeringTest, HeaderGuardsAreTheirPath) {
  for (const Source& source : Sources()) {
    if (!absl::EndsWith(source.path, ".h")) continue;
    std::string guard = "PTXSMITH_";
    for (char c : source.path) {
      guard += c == '/' || c == '.' ? '_' : static_cast<char>(std::toupper(c));
    }
    guard += '_';
    const auto has = [&](const std::string& line) {
      for (const std::string& l : source.lines) {
        if (l == line) return true;
      }
      return false;
    };
    EXPECT_TRUE(has(absl::StrCat("#ifndef ", guard)) && has(absl::StrCat("#define ", guard)))
        << source.path << ": expected guard " << guard;
  }
}

TEST(LayeringTest, TopLevelHoldsOnlyTheRoomsAndTheUsualFiles) {
  std::set<std::string> ignored;
  std::ifstream gitignore(fs::path(PTXSMITH_SOURCE_DIR) / ".gitignore");
  ASSERT_TRUE(gitignore.good());
  for (std::string line; std::getline(gitignore, line);) {
    ignored.insert(std::string(absl::StripPrefix(absl::StripSuffix(line, "/"), "/")));
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(PTXSMITH_SOURCE_DIR)) {
    const std::string name = entry.path().filename().string();
    EXPECT_TRUE(kMayInclude.count(name) != 0 || kTopLevelFiles.count(name) != 0 ||
                ignored.count(name) != 0)
        << "unexpected at the top level: " << name;
  }
}

}  // namespace
}  // namespace ptxsmith
