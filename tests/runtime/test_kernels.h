// Kernels written by hand for the tests of the runtime, which must not depend on the generator.
//
//   KernelSpec saxpy = SaxpySpec();
//   auto module = device->Load(saxpy);
//   Bind(*module, {y, x, 2.0f, 1000u});
#ifndef PTXSMITH_TESTS_RUNTIME_TEST_KERNELS_H_
#define PTXSMITH_TESTS_RUNTIME_TEST_KERNELS_H_

#include "codegen/kernel_spec.h"

namespace ptxsmith {

// y[i] = fma(a, x[i], y[i]) for i < n, 128 threads per block.
KernelSpec SaxpySpec();

// Stores to an address that no buffer has.
KernelSpec WildStoreSpec();

}  // namespace ptxsmith

#endif  // PTXSMITH_TESTS_RUNTIME_TEST_KERNELS_H_
