// ptxsmith cache: what the disk cache of compiled kernels holds, and why a kernel is not in it.
#include <CLI/CLI.hpp>
#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/registry.h"
#include "runtime/cache_explain.h"
#include "runtime/debug_flags.h"
#include "runtime/disk_cache.h"
#include "runtime/ptx_compiler.h"
#include "tools/command.h"

namespace ptxsmith {
namespace {

struct Options {
  std::string key;
  std::string arch = "sm_90";
};

using Entries = std::vector<DiskCache::Entry>;

absl::StatusOr<std::shared_ptr<DiskCache>> OpenCache() {
  PTXSMITH_ASSIGN_OR_RETURN(const DebugFlags flags, DebugFlags::FromEnvironment());
  if (flags.cache_dir.empty()) {
    return absl::FailedPreconditionError(
        "there is no cache: PTXSMITH_NO_CACHE is set, or neither HOME nor PTXSMITH_CACHE_DIR is");
  }
  DiskCache::Options options;
  options.folder = flags.cache_dir;
  return DiskCache::Open(std::move(options));
}

std::string Day(int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts = {};
  char text[16] = "";
  if (gmtime_r(&time, &parts) != nullptr) std::strftime(text, sizeof(text), "%Y-%m-%d", &parts);
  return text;
}

absl::Status List(DiskCache& cache) {
  for (const DiskCache::Entry& entry : cache.List()) {
    std::printf("%8" PRIu64 "  %s  %-6s  %s  %s\n", entry.file_bytes, Day(entry.used).c_str(),
                entry.id.arch.c_str(), entry.id.compiler.c_str(),
                entry.status.ok() ? entry.id.key.c_str() : entry.status.ToString().c_str());
  }
  return absl::OkStatus();
}

absl::Status Stat(DiskCache& cache) {
  struct Group {
    size_t entries = 0;
    uint64_t bytes = 0;
  };
  Group all;
  std::map<std::string, Group> groups;  // by architecture and compiler
  for (const DiskCache::Entry& entry : cache.List()) {
    const std::string name = entry.status.ok()
                                 ? absl::StrCat(entry.id.arch, ", ", entry.id.compiler)
                                 : std::string("damaged or unreadable");
    for (Group* group : {&all, &groups[name]}) {
      ++group->entries;
      group->bytes += entry.file_bytes;
    }
  }
  std::printf("%s\n%zu entries, %.1f MB of at most %.0f MB\n", cache.folder().c_str(), all.entries,
              static_cast<double>(all.bytes) / 1e6, static_cast<double>(cache.max_bytes()) / 1e6);
  for (const auto& [name, group] : groups) {
    std::printf("  %s: %zu entries, %.1f MB\n", name.c_str(), group.entries,
                static_cast<double>(group.bytes) / 1e6);
  }
  return absl::OkStatus();
}

absl::Status Verify(DiskCache& cache) {
  const Entries entries = cache.List();
  size_t bad = 0;
  for (const DiskCache::Entry& entry : entries) {
    if (entry.status.ok()) continue;
    ++bad;
    std::printf("%s: %s\n", entry.path.c_str(), std::string(entry.status.message()).c_str());
  }
  if (bad > 0) {
    return absl::DataLossError(absl::StrCat(bad, " of ", entries.size(),
                                            " entries are bad; they are never used, and a damaged "
                                            "one is replaced when its kernel is asked for"));
  }
  std::printf("%zu entries, all good\n", entries.size());
  return absl::OkStatus();
}

absl::Status Clear(DiskCache& cache) {
  const Entries entries = cache.List();
  PTXSMITH_ASSIGN_OR_RETURN(const uint64_t bytes, cache.Remove(entries));
  std::printf("removed %zu entries, %.1f MB\n", entries.size(), static_cast<double>(bytes) / 1e6);
  return absl::OkStatus();
}

absl::Status Explain(DiskCache& cache, const Options& options) {
  PTXSMITH_ASSIGN_OR_RETURN(const Target target, Target::Parse(options.arch));
  PTXSMITH_ASSIGN_OR_RETURN(const KernelSpec kernel, BuildFromKey(options.key, target));
  PTXSMITH_ASSIGN_OR_RETURN(const DebugFlags flags, DebugFlags::FromEnvironment());
  PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<const PtxCompiler> compiler,
                            OpenPtxCompiler({0, flags.cuda_home}));
  const CubinId wanted = CubinIdOf(kernel, compiler->id(), target.sm_name());
  std::printf("%s\n", ExplainLookup(cache.List(), wanted).c_str());
  return absl::OkStatus();
}

}  // namespace

void AddCacheCommand(CLI::App& app, absl::Status& result) {
  CLI::App* command = app.add_subcommand("cache", "The disk cache of compiled kernels");
  command->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, absl::Status (*run)(DiskCache&)) {
    command->add_subcommand(name, help)->callback([run, &result] {
      const absl::StatusOr<std::shared_ptr<DiskCache>> cache = OpenCache();
      result = cache.ok() ? run(**cache) : cache.status();
    });
  };
  add("ls", "Print every entry: bytes, last use, GPU, compiler, key", List);
  add("stat", "Print where the cache is and how full", Stat);
  add("verify", "Check every entry; an error when one is bad", Verify);
  add("clear", "Remove every entry", Clear);
  auto options = std::make_shared<Options>();
  CLI::App* explain = command->add_subcommand("explain", "Say why a kernel is or is not there");
  explain->add_option("key", options->key, "As for `ptxsmith dump`")->required();
  explain->add_option("--arch", options->arch, "GPU the kernel would run on")
      ->capture_default_str();
  explain->callback([options, &result] {
    const absl::StatusOr<std::shared_ptr<DiskCache>> cache = OpenCache();
    result = cache.ok() ? Explain(**cache, *options) : cache.status();
  });
}

}  // namespace ptxsmith
