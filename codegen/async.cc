#include "codegen/async.h"

#include <utility>

namespace ptxsmith {
namespace {

constexpr uint32_t kBarrierBytes = 8;
constexpr uint32_t kBulkAlignment = 16;
constexpr int kFirstAsync = 80;  // the sm that has cp.async

// Where an instruction gives a value that nobody wants.
ir::Operand Sink() { return Recorder::Text("_"); }

}  // namespace

ir::Operand MBarriers::Address(Operand<U32> index) const {
  return words_.At(index).address().AsOperand(kBarrierBytes, index.loc);
}

void MBarriers::Init(Operand<U32> index, Operand<U32> arrivals) const {
  words_.address().recorder->Append(ir::Op::kPlain, "mbarrier.init.shared::cta.b64",
                                    {Address(index), arrivals.ir}, index.loc);
}

void MBarriers::Arrive(Operand<U32> index, Operand<U32> arrivals) const {
  words_.address().recorder->Append(ir::Op::kPlain, "mbarrier.arrive.release.cta.shared::cta.b64",
                                    {Sink(), Address(index), arrivals.ir}, index.loc);
}

void MBarriers::ArriveExpecting(Operand<U32> index, Operand<U32> bytes) const {
  words_.address().recorder->Append(ir::Op::kPlain, "mbarrier.arrive.expect_tx.shared::cta.b64",
                                    {Sink(), Address(index), bytes.ir}, index.loc);
}

void MBarriers::Wait(KernelBuilder& k, Operand<U32> index, Operand<U32> parity) const {
  const ir::Operand barrier = Address(index);
  k.Repeat(
      [&] {
        return !Pred(&k.recorder(),
                     k.recorder().Emit(RegClass::kPred, "mbarrier.try_wait.parity.shared::cta.b64",
                                       {barrier, parity.ir}, index.loc));
      },
      index.loc);
}

void FenceMBarrierInit(KernelBuilder& k, SourceLoc loc) {
  k.recorder().Append(ir::Op::kPlain, "fence.mbarrier_init.release.cluster", {}, loc);
}

Val<U64> EvictFirst(KernelBuilder& k, SourceLoc loc) {
  return {&k.recorder(),
          k.recorder().Emit(RegClass::kB64, "createpolicy.fractional.L2::evict_first.b64",
                            {Recorder::Float(1.0f)}, loc)};
}

void CopyBulk(const InOut<U8>& to, const In<U8>& from, Operand<U32> bytes,
              const MBarriers& barriers, Operand<U32> index,
              const std::optional<Val<U64>>& policy) {
  Recorder* recorder = to.address().recorder;
  if (to.address().space != Space::kShared || from.address().space != Space::kGlobal) {
    recorder->Fail(index.loc, "a bulk copy goes from global to shared memory");
  }
  if (bytes.multiple_of % kBulkAlignment != 0) {
    recorder->Fail(index.loc, absl::StrCat("a bulk copy of a size only known to be a multiple of ",
                                           bytes.multiple_of, " bytes: must be one of 16"));
  }
  constexpr const char* kMnemonics[] = {
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes",
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"};
  ir::Instr instr = recorder->Make(
      ir::Op::kPlain, kMnemonics[policy.has_value()],
      {to.address().AsOperand(kBulkAlignment, index.loc),
       from.address().AsOperand(kBulkAlignment, index.loc), bytes.ir, barriers.Address(index)},
      index.loc);
  if (policy) instr.src.push_back(policy->ir());
  recorder->Append(std::move(instr));
}

void CopyAsync16(const InOut<U8>& to, const In<U8>& from, SourceLoc loc) {
  constexpr uint32_t kBytes = 16;
  Recorder* recorder = to.address().recorder;
  if (to.address().space != Space::kShared || from.address().space != Space::kGlobal) {
    recorder->Fail(loc, "an asynchronous copy goes from global to shared memory");
  }
  if (recorder->kernel().target.sm < kFirstAsync) {
    to.As<U32>().Store<4>(Operand<U32>(0, loc), from.As<U32>().Load<4>(Operand<U32>(0, loc)));
    return;
  }
  recorder->Append(ir::Op::kPlain, "cp.async.cg.shared.global",
                   {to.address().AsOperand(kBytes, loc), from.address().AsOperand(kBytes, loc),
                    Recorder::Int(kBytes)},
                   loc);
}

void CommitCopies(KernelBuilder& k, SourceLoc loc) {
  if (k.target().sm < kFirstAsync) return;
  k.recorder().Append(ir::Op::kPlain, "cp.async.commit_group", {}, loc);
}

void WaitForCopies(KernelBuilder& k, uint32_t pending, SourceLoc loc) {
  if (k.target().sm < kFirstAsync) return;
  k.recorder().Append(ir::Op::kPlain, "cp.async.wait_group", {Recorder::Int(pending)}, loc);
}

}  // namespace ptxsmith
