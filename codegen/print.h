// Prints a recorded kernel as PTX. Deterministic: the same record gives the same bytes.
#ifndef PTXSMITH_CODEGEN_PRINT_H_
#define PTXSMITH_CODEGEN_PRINT_H_

#include "codegen/ir.h"
#include "codegen/kernel_spec.h"

namespace ptxsmith {

// REQUIRES: Verify(kernel).ok(). The printed `.version` is the least that the target and the
// instructions used need, but not less than kernel.target.isa.
KernelSpec Print(const ir::Kernel& kernel);

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_PRINT_H_
