// Matrix products of a warp group, four warps that begin at a multiple of four, straight out of
// shared memory: wgmma.mma_async, which GPUs of sm_90 alone have (Target::Specific).
//
//   const Shared<F16> x = k.AlignedSharedArray<F16>("x", 64 * 64, SwizzledRows::kAlignment);
//   const SwizzledRows a(x), b(w);             // rows of 64 halves, see below
//   WgmmaTile acc(k, 128);                     // 64 x 128 of f32, spread over the warp group
//   WgmmaFence(k);
//   for (uint32_t i = 0; i < 4; ++i) acc.MultiplyAdd16(a, b, i, /*accumulate=*/k.True());
//   WgmmaCommit(k);
//   WgmmaWait(k, 0);                           // only now may anybody look at acc
//   acc.Element(0) ...                         // whose element this is: see below
//
// The product runs while the threads go on: what it reads must not be written, and its elements not
// be touched, before the wait. Fences order the other way: between anything that touched elements
// and the next product there is a WgmmaFence. The emulator checks both.
//
// Rows in shared memory: 64 halves (128 bytes) each, the 16-byte piece p of row r in the place of
// piece p ^ (r % 8), so that eight rows of a column lie in different banks.
//
// Element i of lane 4 g + t of warp w of the group: row 16 w + g + 8 (i / 2 % 2), column
// 8 (i / 4) + 2 t + i % 2.
//
// The order of the sums inside is the hardware's: devices agree within rounding, not in every bit.
#ifndef PTXSMITH_CODEGEN_WGMMA_H_
#define PTXSMITH_CODEGEN_WGMMA_H_

#include <cstddef>
#include <cstdint>
#include <deque>

#include "codegen/kernel_builder.h"
#include "codegen/val.h"

namespace ptxsmith {

inline constexpr uint32_t kWarpGroupWarps = 4;
inline constexpr uint32_t kWarpGroupThreads = 32 * kWarpGroupWarps;

// Swizzled rows of 64 halves in shared memory, as an operand: the descriptor of PTX ISA,
// "Asynchronous Warpgroup Level Matrix Shared Memory Layout". Any number of rows, a multiple of 8.
class SwizzledRows {
 public:
  static constexpr uint32_t kColumns = 64;
  static constexpr uint32_t kAlignment = 1024;  // of the first row, in bytes

  // REQUIRES: the same address in all threads of the warp group.
  explicit SwizzledRows(const InOut<F16>& first_row, SourceLoc loc = SourceLoc::Here());

  // Of columns 16 i to 16 i + 15.
  Val<U64> Descriptor(uint32_t i) const;

 private:
  Val<U64> descriptor_;
};

class WgmmaTile {
 public:
  static constexpr uint32_t kRows = 64;

  // `columns`: a multiple of 8, at most 256. Elements are undefined at first.
  WgmmaTile(KernelBuilder& k, uint32_t columns, SourceLoc loc = SourceLoc::Here());

  // Starts this = A B^T, or this += A B^T, over columns 16 i to 16 i + 15 of A (64 rows) and of B
  // (as many rows as this has columns): wgmma.mma_async.sync.aligned.m64nNk16.f32.f16.f16
  void MultiplyAdd16(const SwizzledRows& a, const SwizzledRows& b, uint32_t i,
                     const Pred& accumulate, SourceLoc loc = SourceLoc::Here());

  // The same with A from registers: in each of the four warps the fragment of 16 of the rows that
  // MmaTile takes (codegen/mma.h). They must not be overwritten before the wait either, which
  // values never are. The sums have the bits of MmaTile's (H200, 2026-11-20: 512,000 random
  // elements).
  void MultiplyAdd16(const Vec<U32, 4>& a, const SwizzledRows& b, uint32_t i,
                     const Pred& accumulate, SourceLoc loc = SourceLoc::Here());

  size_t size() const { return elements_.size(); }
  // The lane's element i of 0 .. columns / 2 - 1: a snapshot.
  Val<F32> Element(size_t i) const { return elements_[i]; }

 private:
  void Emit(std::initializer_list<ir::Operand> a, const SwizzledRows& b, uint32_t i,
            const Pred& accumulate, SourceLoc loc);

  std::deque<Var<F32>> elements_;  // Vars do not move
};

// wgmma.fence.sync.aligned, wgmma.commit_group.sync.aligned: closes the group of the products
// started since the last call. wgmma.wait_group.sync.aligned: until all but the last `pending`
// groups are done.
void WgmmaFence(KernelBuilder& k, SourceLoc loc = SourceLoc::Here());
void WgmmaCommit(KernelBuilder& k, SourceLoc loc = SourceLoc::Here());
void WgmmaWait(KernelBuilder& k, uint32_t pending, SourceLoc loc = SourceLoc::Here());

// Moves registers between warp groups, from those that only copy to those that compute: each thread
// of the group has `count` (a multiple of 8, 24 to 240) from here on. setmaxnreg.{inc,dec}.
void LowerMaxRegisters(KernelBuilder& k, uint32_t count, SourceLoc loc = SourceLoc::Here());
void RaiseMaxRegisters(KernelBuilder& k, uint32_t count, SourceLoc loc = SourceLoc::Here());

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_WGMMA_H_
