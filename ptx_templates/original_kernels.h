// Which of our kernels does the work of each kernel of realizar 0.8, the system whose kernel
// library this one replaces: what `ptxsmith list --original` prints. A table in
// original_kernels.cc.
//
//   for (const OriginalKernel& kernel : OriginalKernels()) {
//     std::printf("%s -> %s\n", kernel.name.data(), kernel.keys.data());
//   }
#ifndef PTXSMITH_PTX_TEMPLATES_ORIGINAL_KERNELS_H_
#define PTXSMITH_PTX_TEMPLATES_ORIGINAL_KERNELS_H_

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace ptxsmith {

struct OriginalKernel {
  absl::string_view name;  // its enumerator in realizar's KernelType, or the name in its PTX
  // A key of ours, its sizes open; several, joined by " + ", when ours takes several launches.
  absl::string_view keys;
  absl::string_view remark;  // what is different
};

absl::Span<const OriginalKernel> OriginalKernels();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_ORIGINAL_KERNELS_H_
