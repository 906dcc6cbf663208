// ptxsmith inspect: metadata and tensors of a GGUF file.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "codegen/status_macros.h"
#include "model/gguf.h"
#include "tools/command.h"

namespace ptxsmith {
namespace {

constexpr uint64_t kShownElements = 8;  // of an array
constexpr size_t kShownBytes = 100;     // of a string, in text

using Json = nlohmann::ordered_json;  // keys in the order of insertion

struct Options {
  std::string model;
  bool json = false;
};

// Escaped, so that a file cannot send control sequences to the terminal.
std::string Text(const GgufScalar& scalar) {
  if (const auto* text = std::get_if<absl::string_view>(&scalar)) {
    return absl::StrCat("\"", absl::Utf8SafeCHexEscape(text->substr(0, kShownBytes)),
                        text->size() > kShownBytes ? "\"..." : "\"");
  }
  if (const auto* flag = std::get_if<bool>(&scalar)) return *flag ? "true" : "false";
  if (const auto* number = std::get_if<double>(&scalar)) return absl::StrCat(*number);
  if (const auto* number = std::get_if<int64_t>(&scalar)) return absl::StrCat(*number);
  return absl::StrCat(std::get<uint64_t>(scalar));
}

Json ToJson(const GgufScalar& scalar) {
  if (const auto* text = std::get_if<absl::string_view>(&scalar)) return std::string(*text);
  return std::visit(
      [](const auto& value) -> Json {
        if constexpr (std::is_arithmetic_v<std::decay_t<decltype(value)>>) return value;
        return nullptr;
      },
      scalar);
}

std::string TypeName(const GgufEntry& entry) {
  return entry.is_array ? absl::StrCat(ToString(entry.element), "[", entry.count, "]")
                        : std::string(ToString(entry.element));
}

std::vector<uint64_t> Shape(const GgufTensor& tensor) {
  return {tensor.dims.begin(), tensor.dims.begin() + tensor.rank};
}

void PrintText(const GgufFile& file) {
  std::printf("GGUF v%u, %llu bytes, %zu metadata entries, %zu tensors\n\n", file.version(),
              static_cast<unsigned long long>(file.size()), file.entries().size(),
              file.tensors().size());
  for (const GgufEntry& entry : file.entries()) {
    std::vector<std::string> shown;
    for (const GgufScalar& scalar : entry.Elements(kShownElements)) shown.push_back(Text(scalar));
    std::printf("%-42s %-14s %s%s\n", std::string(entry.key).c_str(), TypeName(entry).c_str(),
                absl::StrJoin(shown, ", ").c_str(), entry.count > kShownElements ? ", ..." : "");
  }
  std::printf("\n%-42s %-8s %-20s %14s\n", "tensor", "type", "shape", "bytes");
  uint64_t elements = 0;
  uint64_t bytes = 0;
  for (const GgufTensor& tensor : file.tensors()) {
    elements += tensor.elements();
    bytes += tensor.data.size();
    std::printf("%-42s %-8s %-20s %14zu\n", std::string(tensor.name).c_str(),
                std::string(ToString(tensor.type)).c_str(),
                absl::StrJoin(Shape(tensor), " x ").c_str(), tensor.data.size());
  }
  std::printf(
      "\n%llu elements in %llu bytes, %.2f bits each\n", static_cast<unsigned long long>(elements),
      static_cast<unsigned long long>(bytes),
      elements == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements));
}

void PrintJson(const GgufFile& file) {
  Json report = {{"version", file.version()}, {"bytes", file.size()}};
  Json& metadata = report["metadata"] = Json::array();
  for (const GgufEntry& entry : file.entries()) {
    const std::vector<GgufScalar> elements = entry.Elements(kShownElements);
    Json item = {{"key", std::string(entry.key)}, {"type", TypeName(entry)}};
    if (entry.is_array) {
      item["count"] = entry.count;
      item["first"] = Json::array();
      for (const GgufScalar& scalar : elements) item["first"].push_back(ToJson(scalar));
    } else {
      item["value"] = ToJson(elements[0]);
    }
    metadata.push_back(std::move(item));
  }
  Json& tensors = report["tensors"] = Json::array();
  for (const GgufTensor& tensor : file.tensors()) {
    tensors.push_back({{"name", std::string(tensor.name)},
                       {"type", std::string(ToString(tensor.type))},
                       {"shape", Shape(tensor)},
                       {"bytes", tensor.data.size()}});
  }
  std::printf("%s\n", report.dump(2).c_str());
}

absl::Status Inspect(const Options& options) {
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(options.model));
  options.json ? PrintJson(file) : PrintText(file);
  return absl::OkStatus();
}

}  // namespace

void AddInspectCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("inspect", "Print the metadata and tensors of a GGUF file");
  command->add_option("-m,--model", options->model, "GGUF file")->required();
  command->add_flag("--json", options->json, "Print JSON; of long arrays the first elements");
  command->callback([options, &result] { result = Inspect(*options); });
}

}  // namespace ptxsmith
