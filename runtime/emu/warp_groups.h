// The products of warp groups, wgmma.mma_async: what is under way, what it reads, and the registers
// that nobody may touch meanwhile. Internal to the emulator; used by BlockRunner.
//
//   if (!groups.Execute(warp, instr, exec)) return block.fault;
//
// Each warp computes its 16 of the 64 rows by itself: no other warp needs to have come. A product
// is computed when it starts; under a random schedule sometimes as late as the wait for it, from
// what shared memory holds then. Until the wait its accumulators count as undefined, and the bytes
// it reads as being read.
//
// One host thread.
#ifndef PTXSMITH_RUNTIME_EMU_WARP_GROUPS_H_
#define PTXSMITH_RUNTIME_EMU_WARP_GROUPS_H_

#include <array>
#include <cstdint>
#include <vector>

#include "runtime/emu/machine.h"
#include "runtime/emu/order.h"

namespace ptxsmith::emu {

class WarpGroups {
 public:
  // REQUIRES: `block` has its launch.
  WarpGroups(Block& block, Order& order) : block_(block), order_(order) {}

  // Between blocks: nothing is under way.
  void Reset();
  // One instruction of Kind::kWgmma. Like everything that gives a bool, false means that the fault
  // is in the block.
  bool Execute(Warp& warp, const Instr& in, uint32_t exec);
  // The warp is about to read or write a register of some product.
  bool Touch(const Warp& warp);
  // The block ends.
  bool Finish();
  // Says of the fault of an undefined register that a product is to give it a value.
  void Explain(const Warp& warp);

 private:
  struct Product {
    const Instr* in;
    uint64_t a, b;                              // descriptors; `a` unless A is in registers
    std::array<uint32_t, 4 * kLanes> fragment;  // A in registers
    bool add;
    uint32_t group;
    bool computed;
  };
  struct State {                    // of a warp
    std::vector<Product> products;  // not waited for, in order
    uint32_t groups = 0;            // committed
    uint32_t started = 0;           // products
    bool fenced = false;
  };

  bool Fail(const Warp& warp, WgmmaFault why);
  bool Start(Warp& warp, const Instr& in, State& state);
  bool CheckAccumulators(Warp& warp, const Product& product, const State& state);
  bool CheckRows(const Warp& warp, uint64_t descriptor, uint32_t first, uint32_t rows);
  template <class F>
  void ForEachGranule(uint32_t warp, const Product& product, F&& visit);
  // The warp's part of the product reads; has read, with this stamp.
  void MarkReading(uint32_t warp, const Product& product);
  void MarkRead(uint32_t warp, const Product& product, uint32_t stamp);
  void Compute(Warp& warp, Product& product);
  template <WgmmaType kType>
  void ComputeAs(Warp& warp, const Product& product);
  bool Wait(Warp& warp, uint32_t pending, State& state);

  Block& block_;
  Order& order_;
  std::vector<State> states_;  // by warp; empty until the first instruction
};

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_WARP_GROUPS_H_
