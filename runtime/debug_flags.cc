#include "runtime/debug_flags.h"

#include <cstdio>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace ptxsmith {
namespace {

// The number in variable `name`, 0 when unset or empty.
absl::StatusOr<int> ReadNumber(absl::FunctionRef<const char*(const char*)> get, const char* name,
                               int max) {
  const char* text = get(name);
  if (text == nullptr || *text == '\0') return 0;
  int value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < 0 || value > max) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, "=", text, ": expected a number from 0 to ", max));
  }
  return value;
}

// Empty stays empty.
std::string Below(const std::string& folder, absl::string_view rest) {
  return folder.empty() ? "" : absl::StrCat(folder, rest);
}

}  // namespace

void LogToStderr(absl::string_view message) {
  // One call per message, so that lines of several threads do not mix.
  std::fprintf(stderr, "ptxsmith: %.*s\n", static_cast<int>(message.size()), message.data());
}

absl::StatusOr<DebugFlags> DebugFlags::Read(absl::FunctionRef<const char*(const char*)> get) {
  const auto text = [&](const char* name) -> std::string {
    const char* value = get(name);
    return value == nullptr ? "" : value;
  };
  const absl::StatusOr<int> level = ReadNumber(get, "PTXSMITH_DEBUG", 4);
  if (!level.ok()) return level.status();
  const absl::StatusOr<int> sync = ReadNumber(get, "PTXSMITH_SYNC", 1);
  if (!sync.ok()) return sync.status();
  DebugFlags flags;
  flags.level = *level;
  flags.sync = *sync != 0;
  flags.dump_dir = text("PTXSMITH_DUMP_DIR");
  flags.device = text("PTXSMITH_DEVICE");
  flags.cuda_home = text("CUDA_HOME");
  if (flags.cuda_home.empty()) flags.cuda_home = text("CUDA_PATH");
  const absl::StatusOr<int> forbid = ReadNumber(get, "PTXSMITH_FORBID_BUILD", 1);
  if (!forbid.ok()) return forbid.status();
  flags.forbid_build = *forbid != 0;
  const absl::StatusOr<int> no_cache = ReadNumber(get, "PTXSMITH_NO_CACHE", 1);
  if (!no_cache.ok()) return no_cache.status();
  if (*no_cache == 0) {
    flags.cache_dir = text("PTXSMITH_CACHE_DIR");
    if (flags.cache_dir.empty()) flags.cache_dir = Below(text("XDG_CACHE_HOME"), "/ptxsmith");
    if (flags.cache_dir.empty()) flags.cache_dir = Below(text("HOME"), "/.cache/ptxsmith");
  }
  return flags;
}

absl::StatusOr<DebugFlags> DebugFlags::FromEnvironment() {
  return Read([](const char* name) -> const char* { return std::getenv(name); });
}

}  // namespace ptxsmith
