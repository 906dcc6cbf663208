// A ring of chunks of tiles in shared memory, filled by one producer thread with bulk copies and
// emptied by the compute warps. It runs through everything a kernel reads: the producer fills it
// with the next matrix while the warps still work on the one before.
//
//   TileRing ring(k, {.warps = 14});
//   ring.Init(); k.Barrier();
//   producer thread:  ring.Produce(format, tiles, count);      // same calls ...
//   compute warps:    ring.Consume(format, count, warp, lane,  // ... in the same order
//                         [&](const InOut<U8>& tile, auto loaded) { ... });
//
// Warp w takes tiles w, w + warps, ... of each call. A chunk holds as many tiles as fit into a
// slot.
//
// Pacing: chunk i is asked for when chunk i - in_flight has arrived, so at most that many are under
// way. Bytes in flight are a dial: 36 KiB per SM read 91 % of the bandwidth, 72 KiB 95 %, but at 36
// KiB another block's word comes out of L2 in 0.35 us and at 216 KiB in 2.7 us, and it is such
// words that a chain of dependent products waits for. One producer thread needs about 345 clocks
// per chunk, so chunks of 4608 bytes held it at 70 % (H200, 2026-11-20).
//
// Parity: a full barrier tells only odd from even uses of a slot. A warp that has nothing in some
// chunks must not be two uses behind: in_flight + ceil(warps / tiles per chunk) + 1 <= slots, which
// the constructor checks for every format.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_TILE_RING_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_TILE_RING_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "codegen/async.h"
#include "codegen/kernel_builder.h"
#include "ptx_templates/tiles/tile_format.h"

namespace ptxsmith {

// FailedPrecondition unless the target has bulk copies and shared memory for a ring.
absl::Status CheckTileTarget(absl::string_view family, const Target& target);

// Fills up a block's shared memory, of which it has `taken` bytes, so that an SM has room for one:
// when a kernel starts while another one ends, its blocks gather where there is room first, two on
// an SM and none on another.
void KeepApart(KernelBuilder& k, uint32_t taken);

class TileRing {
 public:
  struct Shape {
    uint32_t warps = 14;  // that compute
    uint32_t in_flight = 4;
    uint32_t slots = 16;
  };
  // Called when the tile is in registers: its slot may be filled again.
  using Loaded = absl::FunctionRef<void()>;
  using Body = absl::FunctionRef<void(const InOut<U8>& tile, Loaded loaded)>;

  static constexpr uint32_t kSlotBytes = 10368;  // three tiles of q6_k, four of q4_k

  TileRing(KernelBuilder& k, const Shape& shape, SourceLoc loc = SourceLoc::Here());

  // By the whole block, before its barrier.
  void Init();

  // By one thread: the next `count` tiles, from `tiles` on.
  void Produce(const TileFormat& format, const In<U8>& tiles, const Val<U32>& count,
               const Val<U64>& policy);

  // By every lane of every compute warp.
  void Consume(const TileFormat& format, const Val<U32>& count, const Val<U32>& warp,
               const Val<U32>& lane, Body body);

  // Rows of two arrays side by side: a chunk holds `per_chunk` rows of the first, then as many of
  // the second. The last chunk may hold fewer.
  struct RowPairs {
    uint32_t bytes;  // of a row, a multiple of 16
    uint32_t per_chunk;
    uint32_t in_flight;  // instead of the ring's
  };
  // By the thread that produces.
  void ProducePairs(const RowPairs& pairs, const In<U8>& first, const In<U8>& second,
                    const Val<U32>& rows, const Val<U64>& policy);
  // By compute warps that look after the chunks themselves: `chunk` counts from the last Advance.
  // Those that a warp waits for one after the other are at most slots - in_flight apart, or slots.
  // Free frees `parts` of `of` parts, by every lane of the warp; in the end every warp advances.
  void WaitFor(const Val<U32>& chunk) { Await(chunks_ + chunk); }
  InOut<U8> SlotOf(const Val<U32>& chunk) const {
    return slots_.At(Slot(chunks_ + chunk), kSlotBytes);
  }
  void Free(const Val<U32>& chunk, const Val<U32>& parts, uint32_t of, const Val<U32>& lane) {
    Release(chunks_ + chunk, parts, of, lane);
  }
  void Advance(const Val<U32>& chunks) { chunks_ += chunks; }

 private:
  static uint32_t TilesPerChunk(const TileFormat& format) { return kSlotBytes / format.bytes; }
  // The next chunk of the producer: waits for its turn and its slot, announces `bytes` and calls
  // copies(to, slot), which starts copying.
  void Fill(uint32_t in_flight, const Val<U32>& bytes,
            absl::FunctionRef<void(const InOut<U8>& to, const Val<U32>& slot)> copies);
  // As above, of chunks counted from the very first one.
  void Await(const Val<U32>& chunk);
  void Release(const Val<U32>& chunk, const Val<U32>& parts, uint32_t of, const Val<U32>& lane);
  Val<U32> Slot(const Val<U32>& chunk) const { return chunk % shape_.slots; }
  // Of the use of the chunk's slot by this chunk.
  Val<U32> Parity(const Val<U32>& chunk) const { return chunk / shape_.slots % 2; }

  KernelBuilder& k_;
  Shape shape_;
  Shared<U8> slots_;
  MBarriers full_;   // the chunk has arrived
  MBarriers empty_;  // all its tiles are in registers
  // Chunks that this thread has seen, as the producer or as a consumer.
  Var<U32> chunks_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_TILE_RING_H_
