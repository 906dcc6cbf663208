// The PTX of a kernel with the C++ lines that emitted it, for people: `ptxsmith dump`, reviews.
// Pure functions.
//
//   std::string text = Annotate(kernel, KernelSources());
//     // gemv.cc:44  const Val<F32> total = WarpSum(acc);
//     shfl.sync.bfly.b32 %f12, %f11, 16, 31, 0xffffffff;
#ifndef PTXSMITH_CODEGEN_ANNOTATE_H_
#define PTXSMITH_CODEGEN_ANNOTATE_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "codegen/kernel_spec.h"

namespace ptxsmith {

struct SourceFile {
  absl::string_view name;  // from the root of the repository: "ptx_templates/gemv.cc"
  absl::string_view text;
};

// The line at `loc` without the blanks around it. Empty when no file has it.
absl::string_view SourceLine(absl::Span<const SourceFile> files, SourceLoc loc);

// `kernel.ptx` with a comment above each run of lines that one C++ line emitted. Valid PTX: only
// comments are added. Where `files` lacks the source, the comment is the place alone.
std::string Annotate(const KernelSpec& kernel, absl::Span<const SourceFile> files);

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_ANNOTATE_H_
