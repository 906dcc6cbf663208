#include "tools/profile_file.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "runtime/cubin_entry.h"
#include "tools/files.h"

namespace ptxsmith {
namespace {

using Json = nlohmann::ordered_json;

absl::StatusOr<std::string> PtxHash(const GemvSpec& spec, const Target& target) {
  PTXSMITH_ASSIGN_OR_RETURN(const KernelSpec kernel, BuildGemv(spec, target));
  return ToHex(HashOf(kernel.ptx));
}

// The member of an object when it is there and of this kind.
template <class T>
bool Get(const Json& object, const char* name, T* value) {
  const auto member = object.find(name);
  if (member == object.end()) return false;
  if constexpr (std::is_same_v<T, std::string>) {
    if (!member->is_string()) return false;
  } else if (!member->is_number()) {
    return false;
  }
  *value = member->get<T>();
  return true;
}

}  // namespace

GpuProfile ProfileFor(const DeviceProfile& device) {
  return {absl::StrCat(device.description, ", ", device.target.ToString()), device.driver_version};
}

absl::StatusOr<std::string> ProfileText(const GpuProfile& profile, const Target& target) {
  Json choices = Json::array();
  for (const auto& [problem, choice] : profile.choices) {
    PTXSMITH_ASSIGN_OR_RETURN(const std::string hash, PtxHash(choice.spec, target));
    choices.push_back({{"problem", problem},
                       {"kernel", FieldsText(choice.spec)},
                       {"us", choice.microseconds},
                       {"default_us", choice.default_microseconds},
                       {"ptx_hash", hash}});
  }
  return Json{{"device", profile.device},
              {"driver_version", profile.driver_version},
              {"read_bandwidth", profile.read_bandwidth},
              {"dense_rows", profile.dense_rows},
              {"gemv", choices}}
             .dump(2) +
         "\n";
}

absl::StatusOr<GpuProfile> ParseProfile(absl::string_view text, const DeviceProfile& device,
                                        size_t* ignored) {
  *ignored = 0;
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  GpuProfile profile = ProfileFor(device);
  std::string measured_on;
  int driver_version = 0;
  if (!json.is_object() || !Get(json, "device", &measured_on) ||
      !Get(json, "driver_version", &driver_version) || !json.contains("gemv") ||
      !json["gemv"].is_array()) {
    return absl::DataLossError("not a profile of `ptxsmith tune`");
  }
  if (measured_on != profile.device || driver_version != profile.driver_version) {
    *ignored = json["gemv"].size();
    return profile;
  }
  Get(json, "read_bandwidth", &profile.read_bandwidth);
  Get(json, "dense_rows", &profile.dense_rows);
  for (const Json& record : json["gemv"]) {
    std::string problem, kernel, hash;
    TunedGemv choice;
    if (!record.is_object() || !Get(record, "problem", &problem) ||
        !Get(record, "kernel", &kernel) || !Get(record, "ptx_hash", &hash) ||
        !Get(record, "us", &choice.microseconds) ||
        !Get(record, "default_us", &choice.default_microseconds)) {
      return absl::DataLossError(absl::StrCat("not a choice of a kernel: ", record.dump()));
    }
    // Fields may have been renamed since, and rules changed.
    const absl::StatusOr<GemvSpec> spec = ParseFields<GemvSpec>(kernel);
    const absl::StatusOr<std::string> now =
        spec.ok() ? PtxHash(*spec, device.target) : spec.status();
    if (!now.ok() || *now != hash) {
      ++*ignored;
      continue;
    }
    choice.spec = *spec;
    profile.choices[problem] = choice;
  }
  return profile;
}

absl::StatusOr<GpuProfile> ReadProfile(const std::string& path, const DeviceProfile& device,
                                       size_t* ignored) {
  PTXSMITH_ASSIGN_OR_RETURN(const std::string text, ReadText(path));
  absl::StatusOr<GpuProfile> profile = ParseProfile(text, device, ignored);
  if (profile.ok()) return profile;
  return absl::Status(profile.status().code(),
                      absl::StrCat(path, ": ", profile.status().message()));
}

}  // namespace ptxsmith
