// Makes a compiler's log readable: each line that names a line of the PTX text gets that line and
// the C++ that emitted it. Used by every device's Load.
//
//   AnnotateLog("input, line 12; error: unknown symbol 'x'", spec)
//     input, line 12; error: unknown symbol 'x'
//         12 | add.f32 %f1, %f1, x;   // gemv.cc:31
//
// Pure functions.
#ifndef PTXSMITH_RUNTIME_JIT_LOG_H_
#define PTXSMITH_RUNTIME_JIT_LOG_H_

#include <string>

#include "absl/strings/string_view.h"
#include "codegen/kernel_spec.h"

namespace ptxsmith {

// `log` with "line N" explained from `spec.ptx` and `spec.lines`. A number beyond the text is left
// alone, a line without a known source is shown without one.
std::string AnnotateLog(absl::string_view log, const KernelSpec& spec);

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_JIT_LOG_H_
