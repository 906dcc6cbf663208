#include "runtime/cache_explain.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace ptxsmith {
namespace {

// "gemv:k=4096,n=512@sm_90.ptx78" as "gemv" and the fields with the target as the last.
std::pair<absl::string_view, std::vector<absl::string_view>> Split(absl::string_view key) {
  std::pair<absl::string_view, std::vector<absl::string_view>> parts;
  const size_t colon = std::min(key.find(':'), key.find('@'));
  parts.first = key.substr(0, colon);
  if (colon == absl::string_view::npos) return parts;
  parts.second = absl::StrSplit(key.substr(colon + 1), absl::ByAnyChar(",@"));
  return parts;
}

// The fields of `key` that `wanted` has otherwise or not at all: "n=256, wanted n=512".
std::vector<std::string> Differences(absl::string_view key, absl::string_view wanted) {
  const std::vector<absl::string_view> has = Split(key).second;
  std::vector<absl::string_view> wants = Split(wanted).second;
  std::vector<std::string> differences;
  for (const absl::string_view field : has) {
    const auto same = std::find(wants.begin(), wants.end(), field);
    if (same != wants.end()) {
      wants.erase(same);
      continue;
    }
    const absl::string_view name = field.substr(0, field.find('='));
    const auto other = std::find_if(wants.begin(), wants.end(), [&](absl::string_view w) {
      return w.substr(0, w.find('=')) == name;
    });
    if (other == wants.end()) {
      differences.push_back(absl::StrCat(field, " more than wanted"));
    } else {
      differences.push_back(absl::StrCat(field, ", wanted ", *other));
      wants.erase(other);
    }
  }
  for (const absl::string_view field : wants) {
    differences.push_back(absl::StrCat("without ", field));
  }
  return differences;
}

// What stands in the way of using an entry of the same key.
std::string Obstacle(const DiskCache::Entry& entry, const CubinId& wanted) {
  if (!entry.status.ok()) return std::string(entry.status.message());
  std::vector<std::string> reasons;
  if (entry.id.arch != wanted.arch) {
    reasons.push_back(absl::StrCat("it is for ", entry.id.arch, ", wanted ", wanted.arch));
  }
  if (entry.id.compiler != wanted.compiler) {
    reasons.push_back(
        absl::StrCat("it was compiled by ", entry.id.compiler, ", here is ", wanted.compiler));
  }
  if (entry.id.ptx_hash != wanted.ptx_hash) {
    reasons.push_back(absl::StrCat("its text was another (", ToHex(entry.id.ptx_hash), ", now ",
                                   ToHex(wanted.ptx_hash), "): the generator has changed"));
  }
  return absl::StrJoin(reasons, "; ");
}

}  // namespace

std::string ExplainLookup(const std::vector<DiskCache::Entry>& entries, const CubinId& wanted) {
  const DiskCache::Entry* nearest = nullptr;
  std::vector<std::string> least;
  std::vector<std::string> lines;
  for (const DiskCache::Entry& entry : entries) {
    if (entry.status.ok() && entry.id == wanted) {
      return absl::StrCat("hit: ", entry.path, ", ", entry.file_bytes, " bytes");
    }
    if (entry.id.key == wanted.key || absl::StrContains(entry.path, wanted.Name())) {
      lines.push_back(absl::StrCat(entry.path, ": ", Obstacle(entry, wanted)));
    }
    if (!entry.status.ok() || Split(entry.id.key).first != Split(wanted.key).first) continue;
    std::vector<std::string> differences = Differences(entry.id.key, wanted.key);
    if (nearest != nullptr && differences.size() >= least.size()) continue;
    nearest = &entry;
    least = std::move(differences);
  }
  if (!lines.empty()) {
    return absl::StrCat("miss: no entry of ", wanted.key, " fits\n", absl::StrJoin(lines, "\n"));
  }
  const std::string never = absl::StrCat("miss: ", wanted.key, " was never compiled here");
  if (nearest == nullptr) {
    return absl::StrCat(never, ", nor was any ", Split(wanted.key).first, " (", entries.size(),
                        " entries)");
  }
  return absl::StrCat(never, "\nnearest: ", nearest->id.key, ": ", absl::StrJoin(least, "; "));
}

}  // namespace ptxsmith
