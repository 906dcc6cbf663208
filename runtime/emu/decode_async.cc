// Decoding of asynchronous copies, mbarriers, fences and cache policies.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "runtime/emu/decoder.h"

namespace ptxsmith::emu {
namespace {

constexpr absl::string_view kCompletes = "mbarrier::complete_tx::bytes";

bool IsShared(absl::string_view part) {
  Space space = Space::kGeneric;
  return ParseSpace(part, space) && space == Space::kShared;
}

}  // namespace

// cp.async[.bulk].commit_group; cp.async[.bulk].wait_group[.read] n; cp.async.wait_all
absl::Status EntryDecoder::DecodeAsyncGroups(const Parts& parts, bool bulk) {
  const absl::string_view verb = parts[bulk ? 3 : 2];
  const bool read = bulk && parts.size() == 5 && parts[4] == "read";
  const size_t expected = (bulk ? 4u : 3u) + (read ? 1u : 0u);
  if (parts.size() != expected) return Unknown();
  Instr instr;
  if (verb == "commit_group" && !read) {
    PTXSMITH_RETURN_IF_ERROR(ExpectOperands(0, 0));
    instr.kind = bulk ? Kind::kCommitBulk : Kind::kCommitAsync;
  } else if (verb == "wait_group") {
    PTXSMITH_RETURN_IF_ERROR(ExpectOperands(1, 1));
    PTXSMITH_ASSIGN_OR_RETURN(const uint64_t pending,
                              ConstantInteger(current_->operands[0], "the number of groups"));
    instr.kind = bulk ? Kind::kWaitBulk : Kind::kWaitAsync;
    instr.immediate = static_cast<int64_t>(std::min<uint64_t>(pending, 0x7fffffff));
  } else if (verb == "wait_all" && !bulk) {
    PTXSMITH_RETURN_IF_ERROR(ExpectOperands(0, 0));
    instr.kind = Kind::kWaitAsync;
    instr.flag = true;  // copies that no commit has closed, too
  } else {
    return Unknown();
  }
  Emit(instr, {}, {});
  return absl::OkStatus();
}

absl::Status EntryDecoder::DecodeCopyAsync(const Parts& parts) {
  if (parts.size() < 3 || parts[1] != "async") return Unknown();
  if (parts[2] == "bulk") {
    return parts.size() > 3 && absl::EndsWith(parts[3], "_group") ? DecodeAsyncGroups(parts, true)
                                                                  : DecodeCopyBulk(parts);
  }
  if (parts[2] == "mbarrier") return DecodeArriveAsync(parts);
  if (parts[2] != "ca" && parts[2] != "cg") return DecodeAsyncGroups(parts, false);
  // cp.async.{ca,cg}.shared.global[.hints] [d], [s], size[, bytes to read][, policy]
  const bool cached = parts[2] == "cg";
  if (parts.size() < 5 || !IsShared(parts[3]) || parts[4] != "global") return Unknown();
  bool policy = false;
  for (size_t i = 5; i < parts.size(); ++i) {
    if (!IsHint(parts[i])) return Unknown();
    policy = policy || parts[i] == "L2::cache_hint";
  }
  const size_t hints = policy ? 1 : 0;
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(3 + hints, 4 + hints));
  if (policy) PTXSMITH_RETURN_IF_ERROR(UseOperand(current_->operands.size() - 1, 'd'));
  Instr instr;
  instr.kind = Kind::kCopyAsync;
  PTXSMITH_ASSIGN_OR_RETURN(Operand to,
                            Address(current_->operands[0], Space::kShared, instr.immediate));
  PTXSMITH_ASSIGN_OR_RETURN(Operand from,
                            Address(current_->operands[1], Space::kGlobal, instr.immediate2));
  PTXSMITH_ASSIGN_OR_RETURN(const uint64_t bytes,
                            ConstantInteger(current_->operands[2], "the size"));
  if ((bytes != 4 && bytes != 8 && bytes != 16) || (cached && bytes != 16)) {
    return Error(absl::StrCat("cannot copy ", bytes, " bytes"));
  }
  instr.element_bytes = static_cast<uint8_t>(bytes);
  std::vector<Operand> sources = {to, from};
  if (current_->operands.size() == 4 + hints) {
    PTXSMITH_ASSIGN_OR_RETURN(Operand size, Source(current_->operands[3], 'w'));
    sources.push_back(size);
    instr.flag = true;
    NoteAccess(Space::kGlobal, 1);  // part of a copy may be read
  }
  NoteAccess(Space::kShared, static_cast<uint32_t>(bytes));
  NoteAccess(Space::kGlobal, static_cast<uint32_t>(bytes));
  Emit(instr, {}, sources);
  return absl::OkStatus();
}

// cp.async.bulk.shared.global.mbarrier::complete_tx::bytes[.L2::cache_hint]
//     [d], [s], size, [mbarrier][, policy]
// cp.async.bulk.global.shared.bulk_group[.L2::cache_hint] [d], [s], size[, policy]
absl::Status EntryDecoder::DecodeCopyBulk(const Parts& parts) {
  if (parts.size() < 6) return Unknown();
  const bool load = IsShared(parts[3]) && parts[4] == "global" && parts[5] == kCompletes;
  const bool store = parts[3] == "global" && parts[4] == "shared::cta" && parts[5] == "bulk_group";
  const bool policy = parts.size() == 7 && parts[6] == "L2::cache_hint";
  if ((!load && !store) || (parts.size() != 6 && !policy)) return Unknown();
  const size_t operands = (load ? 4u : 3u) + (policy ? 1u : 0u);
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(operands, operands));
  if (policy) PTXSMITH_RETURN_IF_ERROR(UseOperand(operands - 1, 'd'));
  Instr instr;
  instr.kind = Kind::kCopyBulk;
  instr.mode = load ? BulkCopy::kToShared : BulkCopy::kToGlobal;
  const Space to_space = load ? Space::kShared : Space::kGlobal;
  const Space from_space = load ? Space::kGlobal : Space::kShared;
  PTXSMITH_ASSIGN_OR_RETURN(Operand to, Address(current_->operands[0], to_space, instr.immediate));
  PTXSMITH_ASSIGN_OR_RETURN(Operand from,
                            Address(current_->operands[1], from_space, instr.immediate2));
  PTXSMITH_ASSIGN_OR_RETURN(Operand size, Source(current_->operands[2], 'w'));
  std::vector<Operand> sources = {to, from, size};
  if (load) {
    PTXSMITH_ASSIGN_OR_RETURN(Operand mbarrier,
                              Address(current_->operands[3], Space::kShared, instr.immediate3));
    sources.push_back(mbarrier);
  }
  NoteAccess(Space::kShared, 16);
  NoteAccess(Space::kGlobal, 16);
  Emit(instr, {}, sources);
  return absl::OkStatus();
}

// cp.async.mbarrier.arrive[.noinc][.shared].b64 [mbarrier]
absl::Status EntryDecoder::DecodeArriveAsync(const Parts& parts) {
  Instr instr;
  instr.kind = Kind::kArriveAsync;
  instr.space = Space::kGeneric;
  if (parts.size() < 5 || parts[3] != "arrive" || parts.back() != "b64") return Unknown();
  for (size_t i = 4; i + 1 < parts.size(); ++i) {
    if (parts[i] == "noinc") {
      instr.flag = true;
    } else if (IsShared(parts[i])) {
      instr.space = Space::kShared;
    } else {
      return Unknown();
    }
  }
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(1, 1));
  PTXSMITH_ASSIGN_OR_RETURN(Operand mbarrier,
                            Address(current_->operands[0], instr.space, instr.immediate));
  NoteAccess(Space::kShared, 8);
  Emit(instr, {}, {mbarrier});
  return absl::OkStatus();
}

// mbarrier.init.b64 [m], count;                      mbarrier.inval.b64 [m];
// mbarrier.arrive[_drop][.noComplete].b64 state|_, [m][, count];
// mbarrier.arrive[_drop].expect_tx.b64 state|_, [m], bytes;
// mbarrier.expect_tx.b64 [m], bytes;                 mbarrier.complete_tx.b64 [m], bytes;
// mbarrier.{test,try}_wait[.parity].b64 done, [m], state|parity[, nanoseconds];
// mbarrier.pending_count.b64 count, state;           each with order, scope and space
absl::Status EntryDecoder::DecodeMbarrier(const Parts& parts) {
  struct OpName {
    absl::string_view name;
    MbarrierOp op;
    uint8_t flags;
  };
  static constexpr OpName kOps[] = {{"init", MbarrierOp::kInit, 0},
                                    {"inval", MbarrierOp::kInval, 0},
                                    {"arrive", MbarrierOp::kArrive, 0},
                                    {"arrive_drop", MbarrierOp::kArriveDrop, 0},
                                    {"expect_tx", MbarrierOp::kExpectTx, 0},
                                    {"complete_tx", MbarrierOp::kCompleteTx, 0},
                                    {"test_wait", MbarrierOp::kWait, 0},
                                    {"try_wait", MbarrierOp::kWait, kWaitMayFail},
                                    {"pending_count", MbarrierOp::kPendingCount, 0}};
  if (parts.size() < 3 || parts.back() != "b64") return Unknown();
  const auto* name = std::find_if(std::begin(kOps), std::end(kOps),
                                  [&](const OpName& o) { return o.name == parts[1]; });
  if (name == std::end(kOps)) return Unknown();
  const MbarrierOp op = name->op;
  const bool arrives = op == MbarrierOp::kArrive || op == MbarrierOp::kArriveDrop;
  Instr instr;
  instr.kind = Kind::kMbarrier;
  instr.space = Space::kGeneric;
  instr.mode = static_cast<uint8_t>(op);
  instr.mode2 = name->flags;
  for (size_t i = 2; i + 1 < parts.size(); ++i) {
    const absl::string_view part = parts[i];
    if (part == "parity" && op == MbarrierOp::kWait) {
      instr.mode2 |= kWaitParity;
    } else if (part == "expect_tx" && arrives) {
      instr.mode2 |= kArriveExpectsTx;
    } else if (part == "noComplete" && arrives) {
      instr.mode2 |= kArriveNoComplete;
    } else if (part == "relaxed") {
      instr.mode2 |= kNoOrder;
    } else if (IsShared(part)) {
      instr.space = Space::kShared;
    } else if (part != "release" && part != "acquire" && part != "cta" && part != "cluster") {
      return Unknown();
    }
  }
  std::vector<Operand> dst, src;
  const std::vector<OperandSyntax>& operands = current_->operands;
  if (op == MbarrierOp::kPendingCount) {
    PTXSMITH_RETURN_IF_ERROR(ExpectOperands(2, 2));
    PTXSMITH_ASSIGN_OR_RETURN(Operand count, Destination(operands[0], 'w'));
    PTXSMITH_ASSIGN_OR_RETURN(Operand state, Source(operands[1], 'd'));
    Emit(instr, {count}, {state});
    return absl::OkStatus();
  }
  size_t next = 0;  // operand
  if (op == MbarrierOp::kWait) {
    PTXSMITH_RETURN_IF_ERROR(ExpectOperands(3, 4));
    PTXSMITH_ASSIGN_OR_RETURN(Operand done, Destination(operands[next++], 'p'));
    dst.push_back(done);
    if (operands.size() == 4) PTXSMITH_RETURN_IF_ERROR(UseOperand(3, 'w'));
  } else if (arrives) {
    const bool counts = instr.mode2 != 0 && instr.mode2 != kNoOrder;
    PTXSMITH_RETURN_IF_ERROR(ExpectOperands(counts ? 3 : 2, 3));
    if (operands[next++].kind != OperandSyntax::kSink) {
      PTXSMITH_ASSIGN_OR_RETURN(Operand state, Destination(operands[0], 'd'));
      dst.push_back(state);
    }
  } else {
    const size_t count = op == MbarrierOp::kInval ? 1 : 2;
    PTXSMITH_RETURN_IF_ERROR(ExpectOperands(count, count));
  }
  PTXSMITH_ASSIGN_OR_RETURN(Operand address,
                            Address(operands[next++], instr.space, instr.immediate));
  src.push_back(address);
  if (next < operands.size()) {
    const bool state = op == MbarrierOp::kWait && (instr.mode2 & kWaitParity) == 0;
    PTXSMITH_ASSIGN_OR_RETURN(Operand number, Source(operands[next], state ? 'd' : 'w'));
    src.push_back(number);
  }
  NoteAccess(Space::kShared, 8);
  Emit(instr, dst, src);
  return absl::OkStatus();
}

// membar.level; fence[.order].scope; fence.proxy.async[.space]; fence.mbarrier_init.release.cluster
absl::Status EntryDecoder::DecodeFence(const Parts& parts) {
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(0, 0));
  const std::string& mnemonic = current_->mnemonic;
  Instr instr;
  instr.kind = Kind::kFence;
  FenceMode mode = FenceMode::kDevice;
  const absl::string_view scope = parts.back();
  if (mnemonic == "fence.mbarrier_init.release.cluster") {
    mode = FenceMode::kMbarrierInit;
  } else if (absl::StartsWith(mnemonic, "fence.proxy.async")) {
    Space space = Space::kGeneric;
    if (parts.size() > 4 || parts[2] != "async" ||
        (parts.size() == 4 && !ParseSpace(parts[3], space))) {
      return Unknown();
    }
    // Nothing is checked of copies that read global memory.
    mode = space == Space::kGlobal ? FenceMode::kBlock : FenceMode::kAsyncProxy;
  } else if (scope == "cta") {
    mode = FenceMode::kBlock;
  } else if (scope != "gl" && scope != "cluster" && scope != "gpu" && scope != "sys") {
    return Unknown();
  }
  const bool ordered =
      parts.size() == 3 && parts[0] == "fence" &&
      (parts[1] == "sc" || parts[1] == "acq_rel" || parts[1] == "acquire" || parts[1] == "release");
  if (parts.size() > 2 && !ordered && mode != FenceMode::kMbarrierInit && parts[1] != "proxy") {
    return Unknown();
  }
  instr.mode = static_cast<uint8_t>(mode);
  Emit(instr, {}, {});
  return absl::OkStatus();
}

// createpolicy.fractional.L2::evict_first[.L2::evict_unchanged].b64 policy[, fraction]: there is no
// cache to tell.
absl::Status EntryDecoder::DecodeCreatePolicy(const Parts& parts) {
  if (parts.size() < 4 || parts[1] != "fractional" || parts.back() != "b64") return Unknown();
  for (size_t i = 2; i + 1 < parts.size(); ++i) {
    if (!absl::StartsWith(parts[i], "L2::evict_") || !IsHint(parts[i])) return Unknown();
  }
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(1, 2));
  if (current_->operands.size() == 2) PTXSMITH_RETURN_IF_ERROR(UseOperand(1, 'w'));
  PTXSMITH_ASSIGN_OR_RETURN(Operand dst, Destination(current_->operands[0], 'd'));
  return EmitLane(*ops_.at("mov.b64"), dst, {ConstantOperand(0, 8)});
}

}  // namespace ptxsmith::emu
