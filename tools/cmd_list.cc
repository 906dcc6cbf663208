// ptxsmith list: every kernel family with its fields.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

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

}  // namespace

void AddListCommand(CLI::App& app, absl::Status& result) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("list", "List the kernel families and their fields");
  command->add_flag("--json", *json, "Print JSON");
  command->callback([json, &result] {
    *json ? PrintJson() : PrintText();
    result = absl::OkStatus();
  });
}

}  // namespace ptxsmith
