// Every kernel family by name: what `ptxsmith list` shows, what a key is parsed by, what tests
// cover. One explicit table in registry.cc; a new family is one line there.
//
//   PTXSMITH_ASSIGN_OR_RETURN(KernelSpec kernel,
//                             BuildFromKey("gemv:quant=q4_k,k=4096,n=4096@sm_90"));
#ifndef PTXSMITH_PTX_TEMPLATES_REGISTRY_H_
#define PTXSMITH_PTX_TEMPLATES_REGISTRY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct Family {
  absl::string_view name;
  absl::string_view summary;
  std::vector<FieldHelp> (*fields)();
  // "quant=q4_k,k=4096": fields left out keep their defaults.
  absl::StatusOr<KernelSpec> (*build)(absl::string_view fields, const Target& target);
  // The `fields` texts of the specialisations that tests cover.
  std::vector<std::string> (*variants)();
};

absl::Span<const Family> AllFamilies();

// InvalidArgument lists the known families.
absl::StatusOr<const Family*> FindFamily(absl::string_view name);

// "family:field=value,...@target", as KeyOf prints it. Without "@target" `default_target` is used.
absl::StatusOr<KernelSpec> BuildFromKey(absl::string_view key, const Target& default_target);

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_REGISTRY_H_
