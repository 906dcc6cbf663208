// The checks of a recorded kernel that need all of it. Scopes, alignment and signatures are checked
// while recording; a write through an In<T> does not compile at all.
//
// Refused, each with the C++ line:
//  1. a barrier where not every thread of the block is known to arrive;
//  2. a shuffle, vote or matrix operation where not every lane of the warp is known to take part;
//  3. an instruction that the target lacks;
//  4. more shared memory than the target has per block;
//  5. a programmatic launch without a wait for the predecessors, or the wait without the launch.
#ifndef PTXSMITH_CODEGEN_VERIFY_H_
#define PTXSMITH_CODEGEN_VERIFY_H_

#include <vector>

#include "absl/status/status.h"
#include "codegen/ir.h"

namespace ptxsmith {

// InvalidArgument for rules 1, 2 and 5, FailedPrecondition for 3 and 4.
absl::Status Verify(const ir::Kernel& kernel);

// For each register, how many threads are known to hold the same value: the least fixed point over
// the body, in which a value is as uniform as its least uniform source, and a Var also as the
// control flow it is assigned under.
std::vector<ir::Uniformity> AnalyzeUniformity(const ir::Kernel& kernel);

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_VERIFY_H_
