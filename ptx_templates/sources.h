// The C++ text of the kernel language and of all templates, built into the library: a kernel can be
// shown with its source where no source tree exists. Constant data.
//
//   std::string text = Annotate(kernel, KernelSources());
#ifndef PTXSMITH_PTX_TEMPLATES_SOURCES_H_
#define PTXSMITH_PTX_TEMPLATES_SOURCES_H_

#include "absl/types/span.h"
#include "codegen/annotate.h"

namespace ptxsmith {

// Every .h and .cc of codegen/ and ptx_templates/. Defined in a file that embed_sources.cmake
// writes into the build tree.
absl::Span<const SourceFile> KernelSources();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_SOURCES_H_
