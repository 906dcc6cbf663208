// The PTX of a kernel of the library, without any device: text for any GPU on any machine.
//
//   dump_ptx [ARCH]            sm_90
#include <cstdio>

#include "codegen/status_macros.h"
#include "ptx_templates/gemv.h"

namespace {

absl::Status Run(const char* arch) {
  PTXSMITH_ASSIGN_OR_RETURN(const ptxsmith::Target target, ptxsmith::Target::Parse(arch));
  ptxsmith::GemvSpec spec;
  spec.quant = ptxsmith::QuantType::kQ4K;
  spec.k = 4096;
  spec.n = 4096;
  PTXSMITH_ASSIGN_OR_RETURN(const ptxsmith::KernelSpec kernel, BuildGemv(spec, target));
  std::printf("// %s\n%s", kernel.key.c_str(), kernel.ptx.c_str());
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Run(argc > 1 ? argv[1] : "sm_90");
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
