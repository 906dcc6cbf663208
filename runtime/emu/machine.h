// The machine that executes decoded PTX: instructions, warps, blocks and faults as plain structs.
// Written by the decoder and the block scheduler, read in the inner loop (isa/*.inc), which is
// compiled once per instruction set of the host. For that reason nothing here has a destructor or
// an out-of-line inline function: such code could be taken from the translation unit built for the
// newest CPU and run on an older one.
//
//   warp.regs + operand.offset      // 32 lanes, 4 or 8 bytes each; a predicate is one 32-bit mask
//
// Thread-safety: a Block and its Warps belong to one host thread; a Kernel is immutable.
#ifndef PTXSMITH_RUNTIME_EMU_MACHINE_H_
#define PTXSMITH_RUNTIME_EMU_MACHINE_H_

#include <cstddef>
#include <cstdint>

namespace ptxsmith::emu {

constexpr int kLanes = 32;
constexpr uint32_t kFullMask = 0xffffffffu;
constexpr int kMaxWarps = 32;
constexpr uint32_t kMaxThreads = kLanes * kMaxWarps;  // of a block
constexpr int kNumBarriers = 16;

// One operation on all 32 lanes: out[i] = f(a[i], b[i], c[i], d[i]). Inactive lanes are computed
// too (on whatever their registers hold) and thrown away by the caller. A predicate, in or out, is
// one 32-bit mask. `out` may be any of the inputs.
using LaneFn = void (*)(void* out, const void* a, const void* b, const void* c, const void* d);

// A row of the table of lane operations. `signature` gives the result and then the sources: 'h' 16
// bits in a 4-byte slot, 'w' 32 bits, 'd' 64 bits, 'p' predicate.
struct LaneOp {
  char name[32];  // the mnemonic: "mad.lo.s32"
  char signature[8];
  LaneFn fn;
};

enum class Kind : uint8_t {
  kLane,     // lane operation
  kMove,     // lane operation that may copy undefined lanes
  kDivide,   // lane operation whose second source must not be zero
  kCompare,  // lane operation on predicates or giving one; `mode` combines with the last source
  kLoad,
  kStore,
  kAtomic,
  kBranch,
  kBranchIndexed,
  kExit,
  kTrap,
  kBarrier,  // flag: all lanes of the warp together; mode: BarrierMode
  kWarpSync,
  kShuffle,
  kVote,
  kMatch,
  kRedux,
  kActiveMask,
  kElect,
  kMma,
  kWgmma,              // mode: WgmmaOp
  kTouchAccumulators,  // what follows reads or writes a register of some wgmma.mma_async
  kLoadMatrix,
  kStoreMatrix,
  kCopyAsync,
  kCommitAsync,
  kWaitAsync,
  kArriveAsync,  // cp.async.mbarrier.arrive; flag: .noinc
  kCopyBulk,     // mode: BulkCopy::Direction
  kCommitBulk,
  kWaitBulk,
  kMbarrier,  // mode: MbarrierOp; mode2: MbarrierFlag
  kFence,     // mode: FenceMode
  kGridWait,  // griddepcontrol.wait
  kClock,
  kNop,
};

// Address spaces of a memory instruction.
enum class Space : uint8_t { kGeneric, kGlobal, kShared, kLocal, kConst, kParam };

// How an element of memory becomes a register and back.
enum class Element : uint8_t { kU8, kS8, kU16, kS16, kB32, kS32, kB64 };

enum class Combine : uint8_t { kNone, kAnd, kOr, kXor };

enum class AtomicOp : uint8_t { kAdd, kMin, kMax, kAnd, kOr, kXor, kExch, kCas, kInc, kDec };
enum class AtomicType : uint8_t {
  kU32,
  kS32,
  kU64,
  kS64,
  kF32,
  kF64,
  kF16x2,
  kBF16x2,
  kF16,
  kBF16
};

enum class BarrierMode : uint8_t { kSync, kArrive };
enum class MbarrierOp : uint8_t {
  kInit,
  kInval,
  kArrive,
  kArriveDrop,
  kExpectTx,
  kCompleteTx,
  kWait,
  kPendingCount
};
enum MbarrierFlag : uint8_t {
  kArriveExpectsTx = 1,   // .expect_tx on an arrival
  kArriveNoComplete = 2,  // .noComplete
  kWaitParity = 4,
  kWaitMayFail = 8,  // try_wait
  kNoOrder = 16      // .relaxed
};
enum class LoadOrder : uint8_t { kWeak, kRelaxed, kAcquire };
enum class FenceMode : uint8_t {
  kBlock,  // fences that order memory within the block only
  kDevice,
  kAsyncProxy,   // fence.proxy.async
  kMbarrierInit  // fence.mbarrier_init
};
enum class ShuffleMode : uint8_t { kUp, kDown, kBfly, kIdx };
enum class VoteMode : uint8_t { kAll, kAny, kUni, kBallot };
enum class MatchMode : uint8_t { kAny, kAll };
enum class ReduxMode : uint8_t { kAddU, kAddS, kMinU, kMinS, kMaxU, kMaxS, kAnd, kOr, kXor };
enum class MmaShape : uint8_t { kM16N8K8, kM16N8K16, kM16N8K32 };
enum class MmaType : uint8_t { kF16, kBF16, kTF32, kS8, kU8 };

// kMultiply: mode2: WgmmaType; flag: A comes from registers. Destinations: the accumulators;
// sources: A (a descriptor or four registers), the descriptor of B, whether to add; immediate: bit
// 0 and 1, A and B are negated.
enum class WgmmaOp : uint8_t { kFence, kMultiply, kCommit, kWait };
enum class WgmmaType : uint8_t { kF16, kBF16, kE4M3 };

struct Operand {
  uint32_t offset = 0;  // into Warp::regs, bytes
  uint32_t reg = 0;     // into Warp::defined
  uint8_t bytes = 4;    // of a lane: 4 or 8; 0: predicate
  uint8_t bits = 32;    // significant ones: 16 in a 4-byte slot for 16-bit registers
};

struct Instr {
  Kind kind = Kind::kNop;
  uint8_t mode = 0;  // the enum of the kind, by value
  uint8_t mode2 = 0;
  bool flag = false;  // .aligned, .trans, ...; see the decoder
  Space space = Space::kGlobal;
  Element element = Element::kB32;
  uint8_t element_bytes = 4;
  uint8_t vector = 1;  // elements per lane
  uint8_t num_dst = 0;
  uint8_t num_src = 0;
  uint16_t num_checks = 0;  // registers that must be defined
  uint32_t guard = 0;       // offset of the guard predicate
  uint32_t guard_reg = 0;
  uint32_t guard_flip = 0;  // ~0 for @!p
  uint32_t line = 0;        // PTX line, 1-based
  const Operand* dst = nullptr;
  const Operand* src = nullptr;
  const uint32_t* checks = nullptr;
  LaneFn lane = nullptr;
  int64_t immediate = 0;              // address offset; branch target; other
  int64_t immediate2 = 0;             // copies: offset of the source address
  int64_t immediate3 = 0;             // kCopyBulk: offset of the mbarrier's address
  const uint32_t* targets = nullptr;  // kBranchIndexed
};

enum class FaultKind : uint8_t {
  kNone,
  kUndefinedRegister,
  kOutOfBounds,
  kMisaligned,
  kUseAfterFree,
  kUndefinedMemory,
  kReadOnly,
  kWrongSpace,
  kSharedRace,
  kGlobalRace,
  kPendingCopy,
  kUnawaitedCopy,   // the block ends while a bulk copy may be under way
  kBulkSize,        // no positive multiple of 16
  kNoProxyFence,    // generic and asynchronous accesses without fence.proxy.async between
  kMbarrier,        // `mask` is a MbarrierFault
  kMbarrierBytes,   // a load or store of a live mbarrier
  kWgmma,           // `mask` is a WgmmaFault
  kBeforeGridWait,  // touches what the kernel before wrote
  kDivideByZero,
  kNotInMask,
  kMaskMismatch,
  kDivergent,  // lanes named by a mask or an aligned barrier wait elsewhere
  kDeadlock,
  kPollsForever,
  kBadBarrier,
  kBadBranchIndex,
  kTrap,
  kBudget,
};

enum class MbarrierFault : uint8_t {
  kNotInitialised,
  kInitialisedTwice,
  kCount,            // `value` is no count of arrivals
  kTooManyArrivals,  // `value` beyond those expected
  kTransactions,     // the bytes expected leave their range
  kBusy,             // invalidated while bytes are expected
  kStale,            // the state is older than the phase before
  kParity,           // `value` is neither 0 nor 1
  kWouldComplete,    // .noComplete
  kTooMany
};

enum class WgmmaFault : uint8_t {
  kIncompleteWarp,  // some lanes are elsewhere, or the block has no four such warps
  kNotUniform,      // an operand differs between the lanes
  kDescriptor,      // `address`
  kNoFence,         // registers of some product were touched since the last fence
  kInFlight,        // register `reg` belongs to a product that may be under way
  kNotAwaited,      // the block ends
  kUnequal          // the warps of the group have executed different numbers of products
};

struct Fault {
  FaultKind kind = FaultKind::kNone;
  Space space = Space::kGlobal;
  bool write = false;
  uint32_t pc = 0;
  uint32_t warp = 0;
  uint32_t lane = 0;
  uint32_t bytes = 0;  // of the access
  uint64_t address = 0;
  uint32_t reg = 0;
  uint32_t other_thread = 0;  // races
  uint64_t other_block = 0;   // races between blocks
  uint32_t mask = 0;
  int64_t value = 0;
};

// Device memory as the inner loop sees it. An address is (id << kIdShift) + offset and ids are
// never used again, so an overrun cannot reach a neighbour and a stale pointer is always known.
constexpr int kIdShift = 36;
constexpr uint64_t kOffsetMask = (uint64_t{1} << kIdShift) - 1;
constexpr int kChunkShift = 10;
constexpr uint64_t kMaxAllocations = uint64_t{1} << 24;

struct Allocation {
  uint8_t* data = nullptr;
  uint64_t bytes = 0;
  uint8_t* defined = nullptr;   // one byte per byte; null: all of it is defined
  uint64_t* writers = nullptr;  // one word per race granule: who stored last; null: nobody yet
  uint32_t writer_shift = 0;    // log2 of that granule
  uint32_t last_stored = 0;     // `writer_base` of the newest launch that stored here
  bool freed = false;
};

// Windows of the generic address space. The low halves are not zero, so that a generic address cut
// to 32 bits is out of bounds in the space it came from.
constexpr uint64_t kSharedWindow = 0x4000000010000000u;
constexpr uint64_t kLocalWindow = 0x2000000020000000u;
constexpr uint64_t kConstWindow = 0x1000000030000000u;
constexpr uint64_t kWindowBytes = 0x10000000u;

// Race shadow of shared memory: four stamps per granule. A stamp is (time << 11) + id, where ids
// below 1024 are threads and the others what copies for them; time counts the synchronisations of
// all blocks run so far in this place, so that nothing has to be cleared between blocks: a stamp
// below `block_start` is of an earlier block.
struct SharedShadow {
  uint32_t* writer = nullptr;   // last store; also tells that the granule is defined
  uint32_t* reader = nullptr;   // last load
  uint32_t* reader2 = nullptr;  // last load by another thread than `reader`
  uint32_t* atomic = nullptr;   // last atomic
  uint32_t block_start = 0;     // stamp
  uint32_t granule_shift = 2;
};
constexpr int kIdBits = 11;
constexpr uint32_t kNumIds = 1u << kIdBits;
constexpr uint32_t kMaxTime = (1u << (32 - kIdBits)) - 3;
constexpr uint32_t kPendingTime = kMaxTime + 1;   // filled, or read, by a copy in flight
constexpr uint32_t kMbarrierTime = kMaxTime + 2;  // the bytes of a live mbarrier
// Ids of mbarriers: the writer of what bulk copies brought. Whoever waits on the mbarrier is
// ordered after them, and nobody else is, not even the thread that asked for the copy.
constexpr uint32_t kFirstMbarrierId = kMaxThreads;
constexpr uint32_t kBulkStoreId = kNumIds - 1;  // the reader of what bulk copies take away
// The readers of what the products of each warp read: whoever is ordered after its wait for them is
// ordered after these.
constexpr uint32_t kFirstProductId = kBulkStoreId - kMaxWarps;
constexpr uint32_t kMaxMbarriers = kFirstProductId - kFirstMbarrierId;
// In records of stores to global memory: volatile, relaxed or release.
constexpr uint32_t kStrongStore = 1u << 10;

struct Group {
  // kYielded: polls, and lets all others go first.
  enum State : uint8_t { kRunnable, kYielded, kParked, kAtBarrier };
  uint32_t mask = 0;
  uint32_t pc = 0;
  State state = kRunnable;
  uint32_t barrier = 0;        // kAtBarrier: id
  uint32_t barrier_count = 0;  // threads; 0: all of the block
};

struct Warp {
  uint8_t* regs = nullptr;
  uint32_t* defined = nullptr;  // per register, a mask of lanes
  uint8_t* local = nullptr;     // kLanes * local_bytes, lane after lane
  uint8_t* local_defined = nullptr;
  uint32_t index = 0;
  uint32_t first_thread = 0;
  uint32_t exists = 0;  // lanes that are threads of the block
  uint32_t live = 0;    // ... and have not exited
  // Lanes that have looked at something others change since they last yielded, and the last look.
  uint32_t polled = 0;
  uint32_t poll_pc = 0;
  uint32_t poll_lane = 0;
  uint64_t poll_address = 0;
  int num_groups = 0;
  Group groups[kLanes];
};

struct Block;
struct Launch;

// A cp.async of one thread, checked.
struct AsyncCopy {
  uint32_t to = 0;                // offset in shared memory
  uint32_t bytes = 0;             // ... written
  const uint8_t* from = nullptr;  // host address
  uint32_t from_bytes = 0;        // ... read; the rest is zero
};

// A cp.async.bulk of one thread, checked.
struct BulkCopy {
  enum Direction : uint8_t { kToShared, kToGlobal };
  Direction direction = kToShared;
  uint8_t* global = nullptr;  // host address
  uint32_t shared = 0;        // offset
  uint32_t bytes = 0;
  uint32_t mbarrier = 0;  // kToShared: offset
  uint32_t pc = 0;
  uint32_t thread = 0;
};

// Slow paths, compiled once. Those that return bool give false after filling in block->fault.
struct Callbacks {
  uint64_t* (*new_writers)(const Launch* launch, uint64_t id);  // race shadow of an allocation
  void (*issue_async)(Block* block, uint32_t thread, const AsyncCopy* copy);
  void (*commit_async)(Block* block, uint32_t thread);
  // All but the `pending` youngest groups; `all`: also copies not yet committed.
  void (*wait_async)(Block* block, uint32_t thread, uint32_t pending, bool all);
  bool (*issue_bulk)(Block* block, Warp* warp, const BulkCopy* copy);
  void (*commit_bulk)(Block* block, uint32_t thread);
  void (*wait_bulk)(Block* block, uint32_t thread, uint32_t pending);
  // kMbarrier and kArriveAsync, for the lanes of `exec`.
  bool (*mbarrier)(Block* block, Warp* warp, const Instr* in, uint32_t exec);
  // kWgmma and kTouchAccumulators.
  bool (*wgmma)(Block* block, Warp* warp, const Instr* in, uint32_t exec);
  uint64_t (*clock)(const Block* block);
};

// What is the same for all blocks of a launch.
struct Launch {
  const Instr* code = nullptr;
  const uint8_t* params = nullptr;
  uint32_t param_bytes = 0;
  const uint8_t* constants = nullptr;
  uint32_t constant_bytes = 0;
  uint32_t shared_bytes = 0;  // static and dynamic
  uint32_t local_bytes = 0;   // per thread
  uint32_t num_threads = 0;   // per block
  int num_warps = 0;
  Allocation* const* chunks = nullptr;
  uint64_t num_allocations = 0;
  uint32_t writer_base = 0;  // blocks of this launch are writer_base + linear index in `writers`
  uint64_t num_blocks = 0;
  // Of the first launch that may still run; less than `writer_base` if this one is programmatic.
  uint32_t dependency_base = 0;
  bool checks = true;
  Callbacks callbacks;
  void* owner = nullptr;  // for the callbacks
};

struct Block {
  const Launch* launch = nullptr;
  uint64_t linear = 0;  // block index
  uint8_t* shared = nullptr;
  SharedShadow shadow;
  uint32_t now = 1;         // time
  uint32_t all_before = 1;  // accesses before this time are ordered before everything now
  // sync[a * kMaxWarps + b]: what warp a did before this time is ordered before warp b's present.
  uint32_t sync[kMaxWarps * kMaxWarps] = {};
  // The same for single ids: id_sync[b * kNumIds + id]. Null until an mbarrier needs it.
  uint32_t* id_sync = nullptr;
  uint32_t proxy_fence[kMaxWarps] = {};  // time of each warp's last fence.proxy.async
  uint32_t after_grid_wait = 0;          // warps ordered after griddepcontrol.wait
  // Arrivals by bar.arrive since the barrier was last released: threads, warps and times.
  uint32_t arrived[kNumBarriers] = {};
  uint32_t arrived_warps[kNumBarriers] = {};
  uint32_t arrived_expected[kNumBarriers] = {};
  uint32_t arrived_time[kNumBarriers][kMaxWarps] = {};
  bool observed = false;      // has seen, by relaxed loads, what other blocks may have stored
  bool acquired = false;      // ... and is ordered after what they did before
  uint64_t progress = 0;      // changes of memory, of any kind
  uint64_t instructions = 0;  // of a warp
  uint64_t lane_ops = 0;
  uint64_t random = 0;  // state of the schedule; 0: natural order
  Fault fault;
  void* owner = nullptr;  // for the callbacks
};

// Stamps. Internal linkage, for the reason given above.
static inline uint32_t TimeOf(uint32_t stamp) { return stamp >> kIdBits; }
static inline uint32_t IdOf(uint32_t stamp) { return stamp & (kNumIds - 1); }
// Whether what `stamp` stands for is ordered before what `thread` does now.
static inline bool Ordered(const Block& block, uint32_t stamp, uint32_t thread) {
  const uint32_t id = IdOf(stamp), time = TimeOf(stamp), warp = thread / kLanes;
  if (id == thread) return true;
  if (id < kMaxThreads && time < block.sync[id / kLanes * kMaxWarps + warp]) return true;
  return block.id_sync != nullptr && time < block.id_sync[warp * kNumIds + id];
}

enum class Stop : uint8_t {
  kBlocked,  // every group waits or has exited
  kSlice,    // used up its instructions
  kFault,    // block.fault says why
};

struct OpTable {
  const LaneOp* rows;
  size_t count;
};

// One compilation of the inner loop.
struct Backend {
  const char* name;
  Stop (*run)(Block* block, Warp* warp, uint64_t slice);
  const OpTable* tables;
  size_t num_tables;
  // Any conversion of convert.h; sources a, b (of a pair), description.
  LaneFn convert32;  // result in a 4-byte slot
  LaneFn convert64;
};

const Backend& BaselineBackend();
const Backend& V3Backend();  // AVX2, FMA, F16C
const Backend& V4Backend();  // AVX-512

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_MACHINE_H_
