#include "runtime/emu/warp_groups.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "runtime/emu/schedule.h"

namespace ptxsmith::emu {
namespace {

constexpr uint32_t kGroupWarps = 4;
constexpr uint32_t kWarpRows = 16;  // of the 64 of a product
constexpr uint32_t kMaxColumns = 256;
constexpr uint32_t kSlabBytes = 32;  // of a row: what one product reads of it
constexpr uint32_t kPieceBytes = 16;
constexpr uint32_t kCanonicalNan = 0x7fffffff;
constexpr uint32_t kRegistersOfA = 4;

uint32_t Columns(const Instr& in) { return 2 * uint32_t{in.num_dst}; }

// A matrix in shared memory (PTX ISA, "Matrix Descriptor Format"), swizzled over 128 bytes.
struct Layout {
  uint32_t first = 0;         // offset of the slab of row 0
  uint32_t group_stride = 0;  // bytes between groups of 8 rows

  // Where piece `piece` of the slab of `row` lies.
  uint32_t PieceOf(uint32_t row, uint32_t piece) const {
    const uint32_t plain = first + row / 8 * group_stride + row % 8 * 128 + piece * kPieceBytes;
    return plain ^ (plain >> 7 & 7) << 4;
  }
};

// False for what is no such descriptor, or begins where no group of rows can.
bool ParseDescriptor(uint64_t descriptor, Layout& layout) {
  constexpr uint64_t kField = 0x3fff,
                     kUsed = kField | kField << 16 | kField << 32 | uint64_t{3} << 62;
  constexpr uint64_t kSwizzle128 = 1;
  constexpr uint32_t kPatternBytes = 1024, kRowBytes = 128;
  layout.first = static_cast<uint32_t>(descriptor & kField) * kPieceBytes;
  layout.group_stride = static_cast<uint32_t>(descriptor >> 32 & kField) * kPieceBytes;
  return (descriptor & ~kUsed) == 0 && descriptor >> 62 == kSwizzle128 &&
         layout.first % kPatternBytes + kSlabBytes <= kRowBytes &&
         layout.group_stride % kPatternBytes == 0;
}

// Calls visit(offset) for each piece that a warp reads of rows `first` to `first + rows - 1`.
template <class F>
void ForEachPiece(const Layout& layout, uint32_t first, uint32_t rows, F&& visit) {
  for (uint32_t row = first; row < first + rows; ++row) {
    for (uint32_t piece = 0; piece < kSlabBytes / kPieceBytes; ++piece) {
      visit(layout.PieceOf(row, piece));
    }
  }
}

// The number that these bits are, scaled from where a float with them would lie.
template <WgmmaType kType>
double ValueOf(uint32_t bits) {
  constexpr bool kHalf = kType == WgmmaType::kF16, kBrain = kType == WgmmaType::kBF16;
  constexpr uint32_t kSign = kType == WgmmaType::kE4M3 ? 0x80 : 0x8000;
  constexpr int kShift = kHalf ? 13 : kBrain ? 16 : 20;
  constexpr float kScale = kHalf ? 0x1p112f : kBrain ? 1.0f : 0x1p120f;
  const uint32_t magnitude = bits & (kSign - 1);
  float value = std::bit_cast<float>(magnitude << kShift) * kScale;
  if (kHalf && magnitude >= 0x7c00) value = std::bit_cast<float>(0x7f800000 | magnitude << kShift);
  if (kType == WgmmaType::kE4M3 && magnitude == 0x7f) value = std::nanf("");
  return (bits & kSign) != 0 ? -double{value} : double{value};
}

uint32_t* Reg32(const Warp& warp, const Operand& operand) {
  return reinterpret_cast<uint32_t*>(warp.regs + operand.offset);
}

}  // namespace

bool WarpGroups::Fail(const Warp& warp, WgmmaFault why) {
  Fault& fault = block_.fault;
  fault.kind = FaultKind::kWgmma;
  fault.mask = static_cast<uint32_t>(why);
  fault.warp = warp.index;
  fault.lane = 0;
  return false;
}

void WarpGroups::Reset() {
  for (uint32_t w = 0; w < states_.size(); ++w) {
    for (const Product& product : states_[w].products) {
      MarkRead(w, product, 0);
    }
  }
  states_.clear();
}

bool WarpGroups::Touch(const Warp& warp) {
  if (!states_.empty()) states_[warp.index].fenced = false;
  return true;
}

bool WarpGroups::Execute(Warp& warp, const Instr& in, uint32_t exec) {
  if (states_.empty()) {
    states_.resize(static_cast<size_t>(block_.launch->num_warps));
    order_.TrackIds(0);
  }
  const uint32_t group = warp.index / kGroupWarps * kGroupWarps;
  if (exec != kFullMask ||
      block_.launch->num_threads < (group + kGroupWarps) * static_cast<uint32_t>(kLanes)) {
    return Fail(warp, WgmmaFault::kIncompleteWarp);
  }
  State& state = states_[warp.index];
  switch (static_cast<WgmmaOp>(in.mode)) {
    case WgmmaOp::kFence:
      state.fenced = true;
      return true;
    case WgmmaOp::kCommit:
      ++state.groups;
      return true;
    case WgmmaOp::kWait:
      return Wait(warp, static_cast<uint32_t>(in.immediate), state);
    case WgmmaOp::kMultiply:
      return Start(warp, in, state);
  }
  return true;
}

bool WarpGroups::Start(Warp& warp, const Instr& in, State& state) {
  if (!state.fenced) return Fail(warp, WgmmaFault::kNoFence);
  Product product = {&in, 0, 0, {}, false, state.groups, false};
  // A descriptor is the same in all lanes.
  const auto descriptor = [&](const Operand& operand, uint64_t& value) {
    const auto* lanes = reinterpret_cast<const uint64_t*>(warp.regs + operand.offset);
    value = lanes[0];
    return std::all_of(lanes, lanes + kLanes, [&](uint64_t lane) { return lane == value; });
  };
  const uint32_t add = *Reg32(warp, in.src[in.num_src - 1]);
  product.add = add != 0;
  if (!descriptor(in.src[in.num_src - 2], product.b) ||
      (!in.flag && !descriptor(in.src[0], product.a)) || (add != 0 && add != kFullMask)) {
    return Fail(warp, WgmmaFault::kNotUniform);
  }
  if (in.flag) {
    for (uint32_t i = 0; i < kRegistersOfA; ++i) {
      std::copy_n(Reg32(warp, in.src[i]), kLanes, &product.fragment[i * kLanes]);
    }
  } else if (!CheckRows(warp, product.a, warp.index % kGroupWarps * kWarpRows, kWarpRows)) {
    return false;
  }
  if (!CheckRows(warp, product.b, 0, Columns(in)) || !CheckAccumulators(warp, product, state)) {
    return false;
  }
  MarkReading(warp.index, product);
  ++state.started;
  const bool in_turn = state.products.empty() || state.products.back().computed;
  state.products.push_back(product);
  if (block_.random == 0 || (in_turn && NextRandom(block_.random) % 2 == 0)) {
    Compute(warp, state.products.back());
  }
  for (uint32_t i = 0; i < in.num_dst; ++i) warp.defined[in.dst[i].reg] = 0;
  return true;
}

// Products in flight may share accumulators when all of these are the same.
bool WarpGroups::CheckAccumulators(Warp& warp, const Product& product, const State& state) {
  const Instr& in = *product.in;
  bool follows = false;
  for (const Product& other : state.products) {
    bool same = other.in->num_dst == in.num_dst;
    for (uint32_t i = 0; i < in.num_dst; ++i) {
      for (uint32_t j = 0; j < other.in->num_dst; ++j) {
        if (in.dst[i].reg != other.in->dst[j].reg) continue;
        follows = true;
        same = same && i == j;
        if (same) continue;
        block_.fault.reg = in.dst[i].reg;
        return Fail(warp, WgmmaFault::kInFlight);
      }
    }
  }
  if (follows || !product.add) return true;
  for (uint32_t i = 0; i < in.num_dst; ++i) {
    if (warp.defined[in.dst[i].reg] == kFullMask) continue;
    block_.fault.kind = FaultKind::kUndefinedRegister;
    block_.fault.reg = in.dst[i].reg;
    block_.fault.warp = warp.index;
    block_.fault.lane = static_cast<uint32_t>(std::countr_one(warp.defined[in.dst[i].reg]));
    return false;
  }
  return true;
}

// What a load of these bytes by the first thread would be checked for, and that the asynchronous
// unit may know them.
bool WarpGroups::CheckRows(const Warp& warp, uint64_t descriptor, uint32_t first, uint32_t rows) {
  Layout layout;
  Fault& fault = block_.fault;
  if (!ParseDescriptor(descriptor, layout)) {
    fault.address = descriptor;
    return Fail(warp, WgmmaFault::kDescriptor);
  }
  SharedShadow& shadow = block_.shadow;
  const uint32_t thread = warp.first_thread;
  FaultKind kind = FaultKind::kNone;
  const auto check = [&](uint32_t offset) {
    if (kind != FaultKind::kNone) return;
    fault.address = offset;
    if (offset + kPieceBytes > block_.launch->shared_bytes) {
      kind = FaultKind::kOutOfBounds;
      return;
    }
    const uint32_t last = (offset + kPieceBytes - 1) >> shadow.granule_shift;
    for (uint32_t g = offset >> shadow.granule_shift; g <= last; ++g) {
      const uint32_t writer = shadow.writer[g], time = TimeOf(writer), id = IdOf(writer);
      fault.other_thread = id;
      if (writer < shadow.block_start) {
        kind = FaultKind::kUndefinedMemory;
      } else if (time > kMaxTime) {
        kind = time == kPendingTime ? FaultKind::kPendingCopy : FaultKind::kMbarrierBytes;
      } else if (!Ordered(block_, writer, thread)) {
        kind = FaultKind::kSharedRace;
      } else if (id < kMaxThreads && time >= block_.proxy_fence[id / kLanes] &&
                 time >= block_.proxy_fence[warp.index]) {
        kind = FaultKind::kNoProxyFence;
      } else if (!Ordered(block_, shadow.atomic[g], thread)) {
        kind = FaultKind::kSharedRace;
        fault.other_thread = IdOf(shadow.atomic[g]);
      }
      if (kind != FaultKind::kNone) return;
    }
  };
  ForEachPiece(layout, first, rows, check);
  if (kind == FaultKind::kNone || !block_.launch->checks) return true;
  fault.kind = kind;
  fault.space = Space::kShared;
  fault.write = false;
  fault.bytes = kPieceBytes;
  fault.warp = warp.index;
  fault.lane = 0;
  return false;
}

// Calls visit(g) for each granule of shared memory that a warp's part of the product reads.
template <class F>
void WarpGroups::ForEachGranule(uint32_t warp, const Product& product, F&& visit) {
  const uint32_t shift = block_.shadow.granule_shift;
  const auto piece = [&](uint32_t offset) {
    const uint32_t last = (offset + kPieceBytes - 1) >> shift;
    for (uint32_t g = offset >> shift; g <= last; ++g) visit(g);
  };
  Layout layout;
  if (!product.in->flag && ParseDescriptor(product.a, layout)) {
    ForEachPiece(layout, warp % kGroupWarps * kWarpRows, kWarpRows, piece);
  }
  if (ParseDescriptor(product.b, layout)) ForEachPiece(layout, 0, Columns(*product.in), piece);
}

void WarpGroups::MarkReading(uint32_t warp, const Product& product) {
  SharedShadow& shadow = block_.shadow;
  const uint32_t reading = kPendingTime << kIdBits | (kFirstProductId + warp);
  ForEachGranule(warp, product, [&](uint32_t g) {
    if (shadow.reader[g] == reading) return;
    shadow.reader2[g] = shadow.reader[g];
    shadow.reader[g] = reading;
  });
}

void WarpGroups::MarkRead(uint32_t warp, const Product& product, uint32_t stamp) {
  SharedShadow& shadow = block_.shadow;
  const uint32_t reading = kPendingTime << kIdBits | (kFirstProductId + warp);
  ForEachGranule(warp, product, [&](uint32_t g) {
    for (uint32_t* reader : {&shadow.reader[g], &shadow.reader2[g]}) {
      if (*reader == reading) *reader = stamp;
    }
  });
}

template <WgmmaType kType>
void WarpGroups::ComputeAs(Warp& warp, const Product& product) {
  constexpr uint32_t kBytes = kType == WgmmaType::kE4M3 ? 1 : 2;
  constexpr uint32_t kDepth = kSlabBytes / kBytes, kPerPiece = kPieceBytes / kBytes;
  constexpr uint32_t kPerRegister = 4 / kBytes;
  const Instr& in = *product.in;
  const uint32_t columns = Columns(in);
  const auto value_at = [&](const uint8_t* from) {
    uint16_t bits = *from;
    if (kBytes == 2) std::memcpy(&bits, from, sizeof(bits));
    return ValueOf<kType>(bits);
  };
  Layout layout;
  double a[kWarpRows][kDepth];
  const double sign = ((in.immediate & 1) != 0) != ((in.immediate & 2) != 0) ? -1 : 1;
  if (in.flag) {
    // As the fragment of mma.m16n8k16, or k32 of bytes.
    for (uint32_t i = 0; i < kRegistersOfA; ++i) {
      for (uint32_t lane = 0; lane < kLanes; ++lane) {
        const uint32_t row = lane / 4 + i % 2 * 8;
        const uint32_t column = lane % 4 * kPerRegister + i / 2 * (kDepth / 2);
        uint8_t bytes[4];
        std::memcpy(bytes, &product.fragment[i * kLanes + lane], sizeof(bytes));
        for (uint32_t e = 0; e < kPerRegister; ++e) {
          a[row][column + e] = sign * value_at(bytes + e * kBytes);
        }
      }
    }
  } else {
    ParseDescriptor(product.a, layout);
    const uint32_t first = warp.index % kGroupWarps * kWarpRows;
    for (uint32_t row = 0; row < kWarpRows; ++row) {
      for (uint32_t k = 0; k < kDepth; ++k) {
        a[row][k] = sign * value_at(block_.shared + layout.PieceOf(first + row, k / kPerPiece) +
                                    k % kPerPiece * kBytes);
      }
    }
  }
  ParseDescriptor(product.b, layout);
  double b[kDepth][kMaxColumns];
  for (uint32_t column = 0; column < columns; ++column) {
    for (uint32_t k = 0; k < kDepth; ++k) {
      b[k][column] =
          value_at(block_.shared + layout.PieceOf(column, k / kPerPiece) + k % kPerPiece * kBytes);
    }
  }
  for (uint32_t row = 0; row < kWarpRows; ++row) {
    double sum[kMaxColumns] = {};
    for (uint32_t k = 0; k < kDepth; ++k) {
      for (uint32_t column = 0; column < columns; ++column) sum[column] += a[row][k] * b[k][column];
    }
    for (uint32_t column = 0; column < columns; ++column) {
      const uint32_t lane = row % 8 * 4 + column % 8 / 2;
      const uint32_t element = column / 8 * 4 + row / 8 * 2 + column % 2;
      uint32_t& to = Reg32(warp, in.dst[element])[lane];
      const double total =
          product.add ? sum[column] + double{std::bit_cast<float>(to)} : sum[column];
      const auto rounded = static_cast<float>(total);
      to = std::isnan(rounded) ? kCanonicalNan : std::bit_cast<uint32_t>(rounded);
    }
  }
}

void WarpGroups::Compute(Warp& warp, Product& product) {
  product.computed = true;
  switch (static_cast<WgmmaType>(product.in->mode2)) {
    case WgmmaType::kF16:
      return ComputeAs<WgmmaType::kF16>(warp, product);
    case WgmmaType::kBF16:
      return ComputeAs<WgmmaType::kBF16>(warp, product);
    case WgmmaType::kE4M3:
      return ComputeAs<WgmmaType::kE4M3>(warp, product);
  }
}

bool WarpGroups::Wait(Warp& warp, uint32_t pending, State& state) {
  const auto done = [&](const Product& product) {
    return product.group < state.groups && state.groups - product.group > pending;
  };
  std::vector<Product> finished;
  for (Product& product : state.products) {
    if (!done(product)) continue;
    const Instr& in = *product.in;
    for (uint32_t i = 0; i < in.num_dst; ++i) {  // has anything been written since it started?
      if (warp.defined[in.dst[i].reg] == 0) continue;
      block_.fault.reg = in.dst[i].reg;
      return Fail(warp, WgmmaFault::kInFlight);
    }
    if (!product.computed) Compute(warp, product);
    MarkRead(warp.index, product, block_.now << kIdBits | (kFirstProductId + warp.index));
    finished.push_back(product);
  }
  if (finished.empty()) return true;
  order_.Follow(warp.index, kFirstProductId + warp.index);
  state.products.erase(state.products.begin(),
                       state.products.begin() + static_cast<ptrdiff_t>(finished.size()));
  for (const Product& product : finished) {
    for (uint32_t i = 0; i < product.in->num_dst; ++i) {
      warp.defined[product.in->dst[i].reg] = kFullMask;
    }
  }
  for (const Product& product : state.products) {
    for (uint32_t i = 0; i < product.in->num_dst; ++i) {
      warp.defined[product.in->dst[i].reg] = 0;
    }
    MarkReading(warp.index, product);  // also of what an earlier product has read
  }
  return true;
}

bool WarpGroups::Finish() {
  for (uint32_t w = 0; w < states_.size(); ++w) {
    Warp warp;
    warp.index = w;
    if (!states_[w].products.empty()) {
      block_.fault.pc = static_cast<uint32_t>(states_[w].products[0].in - block_.launch->code);
      return Fail(warp, WgmmaFault::kNotAwaited);
    }
    const uint32_t first = w / kGroupWarps * kGroupWarps;
    if (states_[w].started == states_[first].started) continue;
    block_.fault.value = int64_t{states_[w].started} - int64_t{states_[first].started};
    return Fail(warp, WgmmaFault::kUnequal);
  }
  return true;
}

void WarpGroups::Explain(const Warp& warp) {
  Fault& fault = block_.fault;
  if (fault.kind != FaultKind::kUndefinedRegister || states_.empty()) return;
  for (const Product& product : states_[warp.index].products) {
    for (uint32_t i = 0; i < product.in->num_dst; ++i) {
      if (product.in->dst[i].reg != fault.reg) continue;
      fault.kind = FaultKind::kWgmma;
      fault.mask = static_cast<uint32_t>(WgmmaFault::kInFlight);
      return;
    }
  }
}

}  // namespace ptxsmith::emu
