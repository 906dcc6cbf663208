// Early return for absl::Status and absl::StatusOr. The packaged abseil (20220623) has no such
// macros.
//
//   PTXSMITH_RETURN_IF_ERROR(Check(spec));
//   PTXSMITH_ASSIGN_OR_RETURN(auto module, device->Load(kernel));
#ifndef PTXSMITH_CODEGEN_STATUS_MACROS_H_
#define PTXSMITH_CODEGEN_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define PTXSMITH_CONCAT_INNER_(a, b) a##b
#define PTXSMITH_CONCAT_(a, b) PTXSMITH_CONCAT_INNER_(a, b)

#define PTXSMITH_RETURN_IF_ERROR(expr)                                    \
  do {                                                                    \
    if (absl::Status ptxsmith_status_ = (expr); !ptxsmith_status_.ok()) { \
      return ptxsmith_status_;                                            \
    }                                                                     \
  } while (false)

#define PTXSMITH_ASSIGN_OR_RETURN(lhs, expr) \
  PTXSMITH_ASSIGN_OR_RETURN_IMPL_(PTXSMITH_CONCAT_(ptxsmith_or_, __LINE__), lhs, expr)

#define PTXSMITH_ASSIGN_OR_RETURN_IMPL_(result, lhs, expr) \
  auto result = (expr);                                    \
  if (!result.ok()) return std::move(result).status();     \
  lhs = std::move(result).value()

#endif  // PTXSMITH_CODEGEN_STATUS_MACROS_H_
