// ptxsmith list: every kernel family with its fields, or which of them stands for which kernel of
// the system that this library replaces.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "ptx_templates/original_kernels.h"
#include "ptx_templates/registry.h"
#include "tools/command.h"

namespace ptxsmith {
namespace {

void PrintText() {
  for (const Family& family : AllFamilies()) {
    std::printf("%s  %s\n", std::string(family.name).c_str(), std::string(family.summary).c_str());
    for (const FieldHelp& field : family.fields()) {
      std::printf("  %-18s %s; %s (default %s)\n", field.name.c_str(), field.help.c_str(),
                  field.allowed.c_str(), field.default_value.c_str());
    }
  }
}

void PrintJson() {
  nlohmann::json families = nlohmann::json::array();
  for (const Family& family : AllFamilies()) {
    nlohmann::json fields = nlohmann::json::array();
    for (const FieldHelp& field : family.fields()) {
      fields.push_back({{"name", field.name},
                        {"help", field.help},
                        {"allowed", field.allowed},
                        {"default", field.default_value}});
    }
    families.push_back({{"name", std::string(family.name)},
                        {"summary", std::string(family.summary)},
                        {"fields", fields}});
  }
  std::printf("%s\n", families.dump(2).c_str());
}

void PrintOriginalText() {
  for (const OriginalKernel& kernel : OriginalKernels()) {
    std::printf("%-32s %s%s%s\n", std::string(kernel.name).c_str(),
                std::string(kernel.keys).c_str(), kernel.remark.empty() ? "" : "; ",
                std::string(kernel.remark).c_str());
  }
}

void PrintOriginalJson() {
  nlohmann::json kernels = nlohmann::json::array();
  for (const OriginalKernel& kernel : OriginalKernels()) {
    const std::vector<std::string> keys = absl::StrSplit(kernel.keys, " + ");
    kernels.push_back({{"name", std::string(kernel.name)},
                       {"keys", keys},
                       {"remark", std::string(kernel.remark)}});
  }
  std::printf("%s\n", kernels.dump(2).c_str());
}

struct Options {
  bool json = false;
  bool original = false;
};

}  // namespace

void AddListCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("list", "List the kernel families and their fields");
  command->add_flag("--json", options->json, "Print JSON");
  command->add_flag("--original", options->original,
                    "List the kernels of realizar 0.8 and what does their work here");
  command->callback([options, &result] {
    if (options->original) {
      options->json ? PrintOriginalJson() : PrintOriginalText();
    } else {
      options->json ? PrintJson() : PrintText();
    }
    result = absl::OkStatus();
  });
}

}  // namespace ptxsmith
