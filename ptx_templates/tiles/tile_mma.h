// The product of one tile in layout kMma with the activations of its 256 columns for several
// tokens, by one warp on the tensor cores.
//
//   FragmentSums sums(k, pieces);                // or NewWarpSums, NewGroupSums
//   const std::vector<Vec<F32, 4>> results =
//       MultiplyTile(k, format, tile, sums, lane, [&] { ... the tile is free ... });
//   // results[i]: rows g and g + 8 for tokens 8 i + 2 t and 8 i + 2 t + 1, as in codegen/mma.h
//
// A word of nibbles becomes fragments with a mask: as f16 bits the integers 0 to 1023 are
// subnormal and exact, so q times the integer scale of its block is exact, too, in what f16 holds
// (q4_k, q5_k: 11 bits; q6_k: rounded to 11 bits). The sums of the tensor cores then need one
// factor per tile and row. Minimums are one more mma, with the sums of the activations' blocks.
// Types with an f16 for each block (q4_0, q8_0) add up block by block instead.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_TILE_MMA_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_TILE_MMA_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "codegen/kernel_builder.h"
#include "codegen/mma.h"
#include "ptx_templates/tiles/column_image.h"
#include "ptx_templates/tiles/tile_format.h"

namespace ptxsmith {

// The activations of a tile's columns, and where the sums with them are made. `pieces` of eight
// tokens.
class TileSums {
 public:
  explicit TileSums(uint32_t pieces) : pieces_(pieces) {}
  virtual ~TileSums() = default;

  uint32_t pieces() const { return pieces_; }

  // Adds the products of chunk c, 32 columns; with `fresh` to nothing. a(step): the weights of 16
  // columns as an A fragment, step 2 c, then 2 c + 1.
  virtual void AddChunk(uint32_t chunk, bool fresh,
                        absl::FunctionRef<Vec<U32, 4>(uint32_t step)> a) = 0;
  // Before sums are looked at.
  virtual void Finish() {}
  virtual Val<F32> Sum(uint32_t piece, uint32_t element) const = 0;

  // What column_image.h has of a piece beside the activations.
  virtual Vec<U32, 2> BlockSums(uint32_t piece) const = 0;
  virtual Vec<F32, 2> Units(uint32_t piece) const = 0;

 private:
  uint32_t pieces_;
};

// Activations in registers.
class FragmentSums : public TileSums {
 public:
  FragmentSums(KernelBuilder& k, const std::vector<PieceFragments>& x);

  void AddChunk(uint32_t chunk, bool fresh,
                absl::FunctionRef<Vec<U32, 4>(uint32_t step)> a) override;
  Val<F32> Sum(uint32_t piece, uint32_t element) const override;
  Vec<U32, 2> BlockSums(uint32_t piece) const override { return x_[piece].Sums(); }
  Vec<F32, 2> Units(uint32_t piece) const override { return x_[piece].Units(); }

 private:
  const std::vector<PieceFragments>& x_;
  std::deque<MmaTile> sums_;
};

// Activations in rows in shared memory, `x` at a multiple of SwizzledRows::kAlignment.
class RowSums : public TileSums {
 public:
  RowSums(KernelBuilder& k, uint32_t pieces, const Val<U32>& lane)
      : TileSums(pieces), k_(k), lane_(lane) {}

  // Turns to another block.
  void Begin(const InOut<F16>& x, const InOut<U8>& extras);
  Vec<U32, 2> BlockSums(uint32_t piece) const override;
  Vec<F32, 2> Units(uint32_t piece) const override;

 protected:
  KernelBuilder& builder() const { return k_; }
  const Val<U32>& lane() const { return lane_; }
  // Columns 64 j to 64 j + 63.
  InOut<F16> Rows(uint32_t j) const;

 private:
  KernelBuilder& k_;
  const Val<U32> lane_;
  std::optional<InOut<F16>> x_;
  std::optional<InOut<U8>> extras_;
};

// By each warp for itself.
std::unique_ptr<RowSums> NewWarpSums(KernelBuilder& k, uint32_t pieces, const Val<U32>& lane);
// By four warps together, each with a tile of its own: on sm_90a.
std::unique_ptr<RowSums> NewGroupSums(KernelBuilder& k, uint32_t pieces, const Val<U32>& lane);

// `tile` lies in shared memory. Calls `loaded` when the tile is in registers and may be
// overwritten.
std::vector<Vec<F32, 4>> MultiplyTile(KernelBuilder& k, const TileFormat& format,
                                      const InOut<U8>& tile, TileSums& sums, const Val<U32>& lane,
                                      absl::FunctionRef<void()> loaded);

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_TILE_MMA_H_
