// Copies from global to shared memory that go on while the kernel computes: bulk copies with the
// barriers that tell when they have arrived, from sm_90 on, and copies of 16 bytes by each thread.
//
//   const MBarriers full(k, "full", 16);                       // 16 barriers in shared memory
//   const Shared<U8> ring = k.SharedArray<U8>("ring", 16 * bytes);
//   k.If(k.ThreadX() == 0, [&] { full.Init(slot, 1); FenceMBarrierInit(k); });
//   k.Barrier();
//   k.If(k.ThreadX() == 0, [&] {                               // one thread asks ...
//     full.ArriveExpecting(slot, bytes);
//     CopyBulk(ring.At(slot, bytes), w, bytes, full, slot, policy);
//   });
//   full.Wait(k, slot, parity);                                // ... and every reader waits
//
// A barrier completes a phase when as many threads have arrived as Init said and as many bytes as
// they announced; phases count 0, 1, 2, ... and Wait passes once the phase of the given parity is
// complete. It cannot tell phase 0 from phase 2: nobody may be two phases behind.
#ifndef PTXSMITH_CODEGEN_ASYNC_H_
#define PTXSMITH_CODEGEN_ASYNC_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "codegen/kernel_builder.h"

namespace ptxsmith {

// `count` mbarriers in shared memory, each 8 bytes.
class MBarriers {
 public:
  MBarriers(KernelBuilder& k, absl::string_view name, uint32_t count,
            SourceLoc loc = SourceLoc::Here())
      : words_(k.SharedArray<U64>(name, count, loc)) {}

  // mbarrier.init.shared::cta.b64. By one thread, before all others see the barrier.
  void Init(Operand<U32> index, Operand<U32> arrivals) const;
  // Counts `arrivals` of the phase's arrivals: mbarrier.arrive.release.cta.shared::cta.b64
  void Arrive(Operand<U32> index, Operand<U32> arrivals) const;
  // One arrival that announces bytes: mbarrier.arrive.expect_tx.shared::cta.b64
  void ArriveExpecting(Operand<U32> index, Operand<U32> bytes) const;
  // Until the phase of this parity (0 or 1) is complete: mbarrier.try_wait.parity.shared::cta.b64,
  // again and again.
  void Wait(KernelBuilder& k, Operand<U32> index, Operand<U32> parity) const;

  // As an operand of a copy.
  ir::Operand Address(Operand<U32> index) const;

 private:
  Shared<U64> words_;
};

// Makes the initialised barriers known to the copy engine: fence.mbarrier_init.release.cluster. By
// the thread that initialised them, before the block's barrier.
void FenceMBarrierInit(KernelBuilder& k, SourceLoc loc = SourceLoc::Here());

// How long copied bytes stay in L2: createpolicy.fractional.L2::evict_first.b64, for data that is
// read once.
Val<U64> EvictFirst(KernelBuilder& k, SourceLoc loc = SourceLoc::Here());

// Starts copying `bytes` (a multiple of 16; both addresses too), which then count for the barrier:
// cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes[.L2::cache_hint]. By one
// thread.
void CopyBulk(const InOut<U8>& to, const In<U8>& from, Operand<U32> bytes,
              const MBarriers& barriers, Operand<U32> index,
              const std::optional<Val<U64>>& policy = std::nullopt);

// Starts copying 16 bytes: cp.async.cg.shared.global, from sm_80 on. Before, a load and a store.
void CopyAsync16(const InOut<U8>& to, const In<U8>& from, SourceLoc loc = SourceLoc::Here());
// Closes the group of the copies that this thread started since the last call:
// cp.async.commit_group.
void CommitCopies(KernelBuilder& k, SourceLoc loc = SourceLoc::Here());
// Until all but the last `pending` groups of this thread have arrived: cp.async.wait_group. Other
// threads see them after a barrier.
void WaitForCopies(KernelBuilder& k, uint32_t pending, SourceLoc loc = SourceLoc::Here());

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_ASYNC_H_
