#include "ptx_templates/tiles/tile_ring.h"

#include "absl/strings/str_cat.h"

namespace ptxsmith {
namespace {

// Arrivals that free a slot: a multiple of every number of tiles a chunk may have.
constexpr uint32_t kSlotArrivals = 12;

Val<U32> DivideUp(const Val<U32>& a, uint32_t b) { return (a + (b - 1)) / b; }

}  // namespace

absl::Status CheckTileTarget(absl::string_view family, const Target& target) {
  constexpr int kSm = 90;
  constexpr uint32_t kShared = 200 * 1024;
  const uint32_t shared = target.limits().max_shared;
  if (target.sm >= kSm && shared >= kShared) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(family, ": needs sm_", kSm, " and ", kShared,
                                                    " bytes of shared memory per block; ",
                                                    target.sm_name(), " has ", shared));
}

void KeepApart(KernelBuilder& k, uint32_t taken) {
  const uint32_t half = k.target().limits().max_shared / 2;
  if (taken < half) k.SharedArray<U8>("apart", half - taken);
}

TileRing::TileRing(KernelBuilder& k, const Shape& shape, SourceLoc loc)
    : k_(k),
      shape_(shape),
      slots_(k.SharedArray<U8>("ring", shape.slots * kSlotBytes, loc)),
      full_(k, "full", shape.slots, loc),
      empty_(k, "empty", shape.slots, loc),
      chunks_(&k.recorder(), 0) {
  for (const TileFormat& format : AllTileFormats()) {
    const uint32_t tiles = TilesPerChunk(format);
    const uint32_t least = shape.in_flight + (shape.warps + tiles - 1) / tiles + 1;
    if (shape.slots < least || kSlotArrivals % tiles != 0) {
      k.recorder().Fail(
          loc, absl::StrCat("a ring of ", shape.slots, " slots for ", shape.warps, " warps with ",
                            shape.in_flight, " chunks in flight: tiles of ", ToString(format.type),
                            " need ", least));
    }
  }
}

void TileRing::Init() {
  const Val<U32> slot = k_.ThreadX();
  k_.If(slot < shape_.slots, [&] {
    full_.Init(slot, 1);
    empty_.Init(slot, kSlotArrivals);
    FenceMBarrierInit(k_);
  });
}

void TileRing::Fill(uint32_t in_flight, const Val<U32>& bytes,
                    absl::FunctionRef<void(const InOut<U8>& to, const Val<U32>& slot)> copies) {
  const Val<U32> chunk = chunks_;
  const Val<U32> slot = Slot(chunk);
  k_.If(chunk >= in_flight, [&] {
    const Val<U32> earlier = chunk - in_flight;
    full_.Wait(k_, Slot(earlier), Parity(earlier));
  });
  k_.If(chunk >= shape_.slots, [&] { empty_.Wait(k_, slot, Parity(chunk) ^ 1); });
  full_.ArriveExpecting(slot, bytes);
  copies(slots_.At(slot, kSlotBytes), slot);
  chunks_ += 1;
}

void TileRing::Produce(const TileFormat& format, const In<U8>& tiles, const Val<U32>& count,
                       const Val<U64>& policy) {
  const uint32_t per_chunk = TilesPerChunk(format);
  k_.For(0, DivideUp(count, per_chunk), {}, [&](const Val<U32>& c) {
    const Val<U32> taken = Min(count - c * per_chunk, per_chunk);
    const Val<U32> bytes = taken * format.bytes;
    Fill(shape_.in_flight, bytes, [&](const InOut<U8>& to, const Val<U32>& slot) {
      CopyBulk(to, tiles.At(c, per_chunk * format.bytes), bytes, full_, slot, policy);
      // Nobody will free what a chunk lacks.
      k_.If(taken < per_chunk,
            [&] { empty_.Arrive(slot, (per_chunk - taken) * (kSlotArrivals / per_chunk)); });
    });
  });
}

void TileRing::ProducePairs(const RowPairs& pairs, const In<U8>& first, const In<U8>& second,
                            const Val<U32>& rows, const Val<U64>& policy) {
  const uint32_t half = pairs.per_chunk * pairs.bytes;
  k_.For(0, DivideUp(rows, pairs.per_chunk), {}, [&](const Val<U32>& c) {
    const Val<U32> bytes = Min(rows - c * pairs.per_chunk, pairs.per_chunk) * pairs.bytes;
    Fill(pairs.in_flight, bytes * 2, [&](const InOut<U8>& to, const Val<U32>& slot) {
      CopyBulk(to, first.At(c, half), bytes, full_, slot, policy);
      CopyBulk(to.At(half), second.At(c, half), bytes, full_, slot, policy);
    });
  });
}

void TileRing::Await(const Val<U32>& chunk) { full_.Wait(k_, Slot(chunk), Parity(chunk)); }

void TileRing::Release(const Val<U32>& chunk, const Val<U32>& parts, uint32_t of,
                       const Val<U32>& lane) {
  k_.WarpBarrier();
  k_.If(lane == 0, [&] { empty_.Arrive(Slot(chunk), parts * (kSlotArrivals / of)); });
}

void TileRing::Consume(const TileFormat& format, const Val<U32>& count, const Val<U32>& warp,
                       const Val<U32>& lane, Body body) {
  const uint32_t per_chunk = TilesPerChunk(format);
  const Val<U32> before = chunks_;
  const auto take = [&](const Val<U32>& chunk, const Val<U32>& place) {
    Await(chunk);
    body(slots_.At(place, format.bytes).At(Slot(chunk), kSlotBytes),
         [&] { Release(chunk, k_.Const<U32>(1), per_chunk, lane); });
  };
  if (shape_.warps % per_chunk == 0) {  // from tile to tile a warp stays at its place in a chunk
    const Val<U32> place = warp % per_chunk;
    k_.For(warp / per_chunk, (count + (per_chunk - 1) - place) / per_chunk,
           {.step = shape_.warps / per_chunk},
           [&](const Val<U32>& chunk) { take(before + chunk, place); });
  } else {
    k_.For(warp, count, {.step = shape_.warps},
           [&](const Val<U32>& u) { take(before + u / per_chunk, u % per_chunk); });
  }
  Advance(DivideUp(count, per_chunk));
}

}  // namespace ptxsmith
