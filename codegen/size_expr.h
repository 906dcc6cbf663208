// Sizes as a function of a kernel's parameters: grids, buffer lengths, bytes moved. A kernel that
// bakes its sizes has constant expressions; one that takes them as parameters has expressions over
// these.
//
//   SizeExpr grid = CeilDiv(SizeExpr::Param(3), 4);
//   grid.Evaluate({0, 0, 0, 4097})  ->  1025
//
// A value type: copies are cheap and independent. Thread-compatible.
#ifndef PTXSMITH_CODEGEN_SIZE_EXPR_H_
#define PTXSMITH_CODEGEN_SIZE_EXPR_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace ptxsmith {

class SizeExpr;
SizeExpr CeilDiv(const SizeExpr& a, const SizeExpr& b);

class SizeExpr {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): numbers are expressions
  SizeExpr(uint64_t value) : SizeExpr(Op{kConstant, value}) {}
  SizeExpr() : SizeExpr(uint64_t{0}) {}
  // The value of the kernel parameter with this index.
  static SizeExpr Param(uint32_t index) { return SizeExpr(Op{kParam, index}); }

  // `params[i]` is the value of parameter i (anything for pointers). InvalidArgument on overflow of
  // 64 bits, division by zero, or a parameter index beyond `params`.
  absl::StatusOr<uint64_t> Evaluate(absl::Span<const uint64_t> params) const;

  // The value when no parameter occurs in it.
  std::optional<uint64_t> constant() const;

  // Whether the parameter with this index occurs in it.
  bool Uses(uint32_t param) const;

  friend SizeExpr operator+(const SizeExpr& a, const SizeExpr& b) { return Join(kAdd, a, b); }
  friend SizeExpr operator*(const SizeExpr& a, const SizeExpr& b) { return Join(kMul, a, b); }
  // ceil(a / b)
  friend SizeExpr CeilDiv(const SizeExpr& a, const SizeExpr& b);

 private:
  enum Kind : uint8_t { kConstant, kParam, kAdd, kMul, kCeilDiv };
  struct Op {
    Kind kind;
    uint64_t value;
  };
  explicit SizeExpr(Op op) : ops_{op} {}
  static SizeExpr Join(Kind kind, const SizeExpr& a, const SizeExpr& b);

  std::vector<Op> ops_;  // postfix order; never empty
};

inline SizeExpr CeilDiv(const SizeExpr& a, const SizeExpr& b) {
  return SizeExpr::Join(SizeExpr::kCeilDiv, a, b);
}

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_SIZE_EXPR_H_
