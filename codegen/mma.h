// Matrix products of one warp on the tensor cores.
//
//   MmaTile acc(k);                                // a 16 x 8 tile of f32, spread over the warp
//   acc.MultiplyAdd16(a, b);                       // acc += A (16 x 16) * B (16 x 8), f16
//   acc.Element(0) ...                            // whose element this is: see below
//
// Fragments, with g = lane / 4 and t = lane % 4 (PTX ISA, "Matrix Fragments for mma.m16n8k16"):
//   A   a[0] = row g, columns 2 t and 2 t + 1      a[1] = row g + 8, the same columns
//       a[2] = row g, columns 2 t + 8 and + 9      a[3] = row g + 8, the same columns
//   B   b[0] = rows 2 t and 2 t + 1 of column g    b[1] = rows 2 t + 8 and + 9 of column g
//   acc element 0, 1: row g, columns 2 t and 2 t + 1; element 2, 3: row g + 8, the same columns.
// A fragment word holds two f16, the lower index in the low half.
//
//   const Vec<U32, 4> b = LoadMatrices(tile.At(row), false);   // from rows of 16 bytes in shared
//   memory
//
// The order of the sums inside is the hardware's: devices agree within rounding, not in every bit.
#ifndef PTXSMITH_CODEGEN_MMA_H_
#define PTXSMITH_CODEGEN_MMA_H_

#include <array>
#include <cstddef>

#include "codegen/kernel_builder.h"
#include "codegen/val.h"

namespace ptxsmith {

class MmaTile {
 public:
  explicit MmaTile(KernelBuilder& k)
      : elements_{Var<F32>(&k.recorder(), 0.0f), Var<F32>(&k.recorder(), 0.0f),
                  Var<F32>(&k.recorder(), 0.0f), Var<F32>(&k.recorder(), 0.0f)} {}

  // acc += A B over 16 columns of A. One mma.sync.aligned.m16n8k16 from sm_80 on, two of m16n8k8
  // before.
  void MultiplyAdd16(const Vec<U32, 4>& a, const Vec<U32, 2>& b, SourceLoc loc = SourceLoc::Here());

  // The lane's element i of 0..3: a snapshot.
  Val<F32> Element(size_t i) const { return elements_[i]; }
  void SetElement(size_t i, Operand<F32> value) { elements_[i] = value; }

 private:
  void Emit(const char* mnemonic, std::initializer_list<ir::Operand> a,
            std::initializer_list<ir::Operand> b, SourceLoc loc);

  std::array<Var<F32>, 4> elements_;
};

// Four 8 x 8 matrices of f16 from shared memory: lane 8 i + r says where row r of matrix i lies, 16
// bytes. Word i holds elements 2 t and 2 t + 1 of row g of matrix i; `transposed` elements g of
// rows 2 t and 2 t + 1. ldmatrix.sync.aligned.m8n8.x4[.trans].shared.b16
Vec<U32, 4> LoadMatrices(const InOut<F16>& row, bool transposed, SourceLoc loc = SourceLoc::Here());

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_MMA_H_
