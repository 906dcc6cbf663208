#include "runtime/emu/program.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "codegen/status_macros.h"
#include "runtime/emu/decoder.h"

namespace ptxsmith::emu {
namespace {

// Places module variables; `.const` bytes and `.global` variables go to the program.
absl::Status LayOutModule(const ModuleSyntax& module, Program& program, ModuleLayout& layout) {
  uint64_t shared = 0;
  for (const VariableSyntax& variable : module.variables) {
    Symbol symbol{variable.space, 0};
    uint64_t end = 0;
    if (variable.space == SpaceKind::kShared) {
      if (variable.dynamic) {
        layout.dynamic_shared.push_back(variable);
        continue;
      }
      symbol.offset = AlignUp(shared, variable.alignment);
      shared = symbol.offset + variable.bytes;
      end = shared;
    } else if (variable.space == SpaceKind::kConst) {
      symbol.offset = AlignUp(program.constants.size(), variable.alignment);
      end = symbol.offset + variable.bytes;
      if (end <= kMaxBankBytes) {
        program.constants.resize(end);
        std::copy(variable.initial.begin(), variable.initial.end(),
                  program.constants.begin() + static_cast<int64_t>(symbol.offset));
      }
    } else {
      symbol.offset = program.globals.size();
      program.globals.push_back({variable.name, variable.bytes, variable.initial});
    }
    if (end > kMaxBankBytes) {
      return absl::InvalidArgumentError(absl::StrCat("PTX line ", variable.line, ": variable ",
                                                     variable.name, " does not fit its space"));
    }
    layout.symbols[variable.name] = symbol;
  }
  layout.static_shared = static_cast<uint32_t>(shared);
  return absl::OkStatus();
}

}  // namespace

const Backend& BestBackend() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512cd")) {
    return V4Backend();
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2")) {
    return V3Backend();
  }
  return BaselineBackend();
}

const Kernel* Program::Find(absl::string_view name) const {
  for (const auto& kernel : kernels) {
    if (kernel->name == name) return kernel.get();
  }
  return nullptr;
}

absl::StatusOr<std::shared_ptr<const Program>> ParseProgram(absl::string_view text,
                                                            const Backend& backend) {
  PTXSMITH_ASSIGN_OR_RETURN(const ModuleSyntax module, ParseModule(text));
  auto program = std::make_shared<Program>();
  program->sm = module.sm;
  program->version_major = module.version_major;
  program->version_minor = module.version_minor;
  program->backend = &backend;
  for (absl::string_view line : absl::StrSplit(text, '\n')) program->lines.emplace_back(line);
  ModuleLayout layout;
  PTXSMITH_RETURN_IF_ERROR(LayOutModule(module, *program, layout));
  OpMap ops;
  for (size_t t = 0; t < backend.num_tables; ++t) {
    for (size_t i = 0; i < backend.tables[t].count; ++i) {
      const LaneOp& op = backend.tables[t].rows[i];
      ops.emplace(op.name, &op);
    }
  }
  for (const EntrySyntax& entry : module.entries) {
    PTXSMITH_ASSIGN_OR_RETURN(auto kernel, EntryDecoder(layout, entry, ops, backend).Run());
    if (program->Find(kernel->name) != nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("PTX line ", entry.line, ": entry ", entry.name, " defined twice"));
    }
    program->kernels.push_back(std::move(kernel));
  }
  return std::shared_ptr<const Program>(std::move(program));
}

}  // namespace ptxsmith::emu
