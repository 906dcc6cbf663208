#include "codegen/kernel_builder.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "codegen/print.h"
#include "codegen/status_macros.h"
#include "codegen/verify.h"

namespace ptxsmith {
namespace {

ir::Kernel NewKernel(absl::string_view key, absl::string_view entry, const Target& target) {
  ir::Kernel kernel;
  kernel.key = std::string(key);
  kernel.entry = std::string(entry);
  kernel.target = target;
  return kernel;
}

}  // namespace

KernelBuilder::KernelBuilder(absl::string_view key, absl::string_view entry, const Target& target)
    : recorder_(NewKernel(key, entry, target)) {}

bool KernelBuilder::AddParam(ParamDesc desc, SourceLoc loc) {
  std::vector<ParamDesc>& params = recorder_.kernel().params;
  for (const ParamDesc& other : params) {
    if (other.name != desc.name) continue;
    recorder_.Fail(loc, absl::StrCat("two parameters are named '", desc.name, "'"));
    return false;
  }
  params.push_back(std::move(desc));
  param_locs_.push_back(loc);
  return true;
}

Address KernelBuilder::PointerParam(absl::string_view name, ParamKind kind, ElemType type,
                                    const PointerOptions& options, SourceLoc loc) {
  ParamDesc desc;
  desc.name = std::string(name);
  desc.kind = kind;
  desc.type = type;
  desc.alignment = options.alignment;
  desc.count = options.count;
  Address address;
  address.recorder = &recorder_;
  address.alignment = options.alignment;
  address.constant = options.constant;
  address.name = recorder_.Intern(std::string(name));
  if (options.alignment == 0 || options.alignment % ByteSize(type) != 0 ||
      (options.alignment & (options.alignment - 1)) != 0) {
    recorder_.Fail(loc, absl::StrCat("alignment ", options.alignment, " of parameter '", name,
                                     "' is not a power of two that fits its elements"));
  }
  AddParam(std::move(desc), loc);
  const ir::Operand generic =
      recorder_.Emit(RegClass::kB64, "ld.param.u64",
                     {Recorder::Text(recorder_.Intern(absl::StrCat("[", name, "]")))}, loc);
  param_regs_.push_back(generic.reg);
  address.base = recorder_.Emit(RegClass::kB64, "cvta.to.global.u64", {generic}, loc);
  param_regs_.back() = address.base.reg;
  return address;
}

Dim KernelBuilder::ParamDim(absl::string_view name, std::optional<uint32_t> baked,
                            uint32_t multiple_of, SourceLoc loc) {
  if (multiple_of == 0) {
    recorder_.Fail(loc, absl::StrCat(name, " must be a multiple of 0"));
    multiple_of = 1;
  }
  if (baked) {
    if (*baked % multiple_of != 0) {
      recorder_.Fail(loc, absl::StrCat(name, "=", *baked, " is not a multiple of ", multiple_of));
    }
    return Dim(Const<U32>(*baked), SizeExpr(*baked));
  }
  ParamDesc desc;
  desc.name = std::string(name);
  desc.multiple_of = multiple_of;
  const uint32_t index = static_cast<uint32_t>(recorder_.kernel().params.size());
  AddParam(std::move(desc), loc);
  const ir::Operand value =
      recorder_.Emit(RegClass::kB32, "ld.param.u32",
                     {Recorder::Text(recorder_.Intern(absl::StrCat("[", name, "]")))}, loc);
  param_regs_.push_back(value.reg);
  return Dim(Val<U32>(&recorder_, value, MultipleOfConstant(multiple_of)), SizeExpr::Param(index));
}

void KernelBuilder::Launch(const LaunchRule& rule, SourceLoc loc) {
  if (launched_) recorder_.Fail(loc, "Launch is called twice");
  launched_ = true;
  uint64_t threads = 1;
  for (uint32_t n : rule.block) threads *= n;
  const uint32_t limit = target().limits().max_threads_per_block;
  // Whole warps along x: Lane() and Warp() are made of %tid.x alone.
  if (threads == 0 || threads > limit || rule.block[0] % 32 != 0) {
    recorder_.Fail(loc,
                   absl::StrCat("a block of ", absl::StrJoin(rule.block, " x "),
                                " threads: must be a multiple of 32 along x, at most ", limit));
  }
  recorder_.kernel().launch = rule;
}

Address KernelBuilder::SharedAddress(absl::string_view name, uint64_t bytes, uint32_t alignment,
                                     SourceLoc loc) {
  for (const ir::SharedArray& other : recorder_.kernel().shared) {
    if (other.name == name) {
      recorder_.Fail(loc, absl::StrCat("two shared arrays are named '", name, "'"));
    }
  }
  const uint32_t limit = target().limits().max_shared;
  if (bytes == 0 || bytes > limit) {
    recorder_.Fail(loc, absl::StrCat("shared array '", name, "' of ", bytes,
                                     " bytes: ", target().sm_name(), " has ", limit, " per block"));
    bytes = 0;
  }
  const uint32_t laid_out = static_cast<uint32_t>(bytes + ir::kSharedAlignment - 1) /
                            ir::kSharedAlignment * ir::kSharedAlignment;
  if (alignment < ir::kSharedAlignment || (alignment & (alignment - 1)) != 0) {
    recorder_.Fail(loc, absl::StrCat("alignment ", alignment, " of shared array '", name,
                                     "' is not a power of two from ", ir::kSharedAlignment, " on"));
    alignment = ir::kSharedAlignment;
  }
  recorder_.kernel().shared.push_back({std::string(name), laid_out, alignment});
  Address address;
  address.recorder = &recorder_;
  address.space = Space::kShared;
  address.name = recorder_.Intern(std::string(name));
  address.alignment = alignment;
  address.base = recorder_.Emit(RegClass::kB32, "mov.u32", {Recorder::Text(address.name)}, loc);
  return address;
}

Val<U32> KernelBuilder::Special(ir::Uniformity uniformity, const char* name, SourceLoc loc) {
  return Val<U32>(&recorder_, recorder_.EmitUniform(uniformity, RegClass::kB32, "mov.u32",
                                                    {Recorder::Text(name)}, loc));
}

Val<U32> KernelBuilder::ThreadX(SourceLoc loc) {
  return Special(ir::Uniformity::kLane, "%tid.x", loc);
}

Val<U32> KernelBuilder::Lane(SourceLoc loc) { return ThreadX(loc) & Operand<U32>(31, loc); }

Val<U32> KernelBuilder::Warp(SourceLoc loc) {
  const Val<U32> thread = ThreadX(loc);
  // Launch admits whole warps along x only, so the quotient is the same in all lanes of a warp.
  return Val<U32>(&recorder_,
                  recorder_.EmitUniform(ir::Uniformity::kWarp, RegClass::kB32, "shr.u32",
                                        {thread.ir(), Recorder::Int(5)}, loc));
}

Val<U32> KernelBuilder::CtaX(SourceLoc loc) {
  return Special(ir::Uniformity::kCta, "%ctaid.x", loc);
}

Val<U32> KernelBuilder::CtaY(SourceLoc loc) {
  return Special(ir::Uniformity::kCta, "%ctaid.y", loc);
}

Val<U32> KernelBuilder::GlobalThread(SourceLoc loc) {
  if (!launched_) recorder_.Fail(loc, "GlobalThread needs the block size: call Launch first");
  const uint32_t block = recorder_.kernel().launch.block[0];
  const Val<U32> first = CtaX(loc) * Operand<U32>(block, loc);
  return first + Operand<U32>(ThreadX(loc), loc);
}

void KernelBuilder::BeginIf(const Pred& p, SourceLoc loc) {
  recorder_.Append(ir::Op::kIf, "", {p.ir()}, loc);
  recorder_.OpenScope();
}

void KernelBuilder::BeginElse(SourceLoc loc) {
  recorder_.CloseScope();
  recorder_.Append(ir::Op::kElse, "", {}, loc);
  recorder_.OpenScope();
}

void KernelBuilder::EndIf(SourceLoc loc) {
  recorder_.CloseScope();
  recorder_.Append(ir::Op::kEndIf, "", {}, loc);
}

Val<U32> KernelBuilder::BeginLoop(const Operand<U32>& begin, const Operand<U32>& end, uint32_t step,
                                  bool guard, SourceLoc loc) {
  recorder_.OpenScope();
  ir::Instr instr = recorder_.Make(ir::Op::kLoop, "", {begin.ir, end.ir}, loc);
  instr.guard = guard;
  instr.dst = {recorder_.NewReg(RegClass::kB32), recorder_.NewReg(RegClass::kPred)};
  const ir::Operand i = recorder_.RegOperand(instr.dst[0]);
  recorder_.Append(std::move(instr));
  return Val<U32>(&recorder_, i, std::min(begin.multiple_of, MultipleOfConstant(step)));
}

void KernelBuilder::EndLoop(const Val<U32>& i, const Operand<U32>& end, uint32_t step,
                            SourceLoc loc) {
  recorder_.Append(ir::Op::kEndLoop, "", {i.ir(), Recorder::Int(step), end.ir}, loc);
  recorder_.CloseScope();
}

void KernelBuilder::Barrier(SourceLoc loc) {
  recorder_.Append(ir::Op::kBarrier, "bar.sync", {Recorder::Int(0)}, loc);
}

void KernelBuilder::NamedBarrier(uint32_t id, uint32_t threads, SourceLoc loc) {
  if (id == 0 || id > 15 || threads == 0 || threads % 32 != 0) {
    recorder_.Fail(loc, absl::StrCat("barrier ", id, " of ", threads,
                                     " threads: ids are 1 to 15, threads whole warps"));
  }
  recorder_.Append(ir::Op::kWarp, "bar.sync", {Recorder::Int(id), Recorder::Int(threads)}, loc);
}

void KernelBuilder::WarpBarrier(SourceLoc loc) {
  recorder_.Append(ir::Op::kWarp, "bar.warp.sync", {Recorder::Int(0xffffffff)}, loc);
}

void KernelBuilder::WaitForPredecessors(SourceLoc loc) { Plain("griddepcontrol.wait", loc); }
void KernelBuilder::LaunchDependents(SourceLoc loc) {
  Plain("griddepcontrol.launch_dependents", loc);
}

void KernelBuilder::Plain(const char* mnemonic, SourceLoc loc) {
  recorder_.Append(ir::Op::kPlain, mnemonic, {}, loc);
}

ir::RegId KernelBuilder::BeginRepeat(SourceLoc loc) {
  ir::Instr instr = recorder_.Make(ir::Op::kRepeat, "", {}, loc);
  const ir::RegId condition = recorder_.NewReg(RegClass::kPred);
  instr.dst = {condition};
  recorder_.Append(std::move(instr));
  recorder_.OpenScope();
  return condition;
}

void KernelBuilder::EndRepeat(ir::RegId condition, const Pred& again, SourceLoc loc) {
  if (again.constant().value_or(false)) recorder_.Fail(loc, "Repeat never ends");
  ir::Instr instr = recorder_.Make(ir::Op::kEndRepeat, "", {again.ir()}, loc);
  instr.dst = {condition};
  recorder_.Append(std::move(instr));
  recorder_.CloseScope();
}

absl::StatusOr<KernelSpec> KernelBuilder::Finish() && {
  if (!launched_) recorder_.Fail(SourceLoc::Here(), "Launch was not called");
  const ir::Kernel& kernel = recorder_.kernel();
  std::vector<bool> read(kernel.regs.size());
  for (const ir::Instr& instr : kernel.body) {
    for (const ir::Operand& operand : instr.src) {
      if (operand.kind == ir::Operand::kReg) read[operand.reg] = true;
    }
  }
  for (size_t i = 0; i < kernel.params.size() && i < param_regs_.size(); ++i) {
    // A size may serve the geometry alone.
    const auto& grid = kernel.launch.grid;
    const bool sizes_grid = std::any_of(grid.begin(), grid.end(), [&](const SizeExpr& blocks) {
      return blocks.Uses(static_cast<uint32_t>(i));
    });
    if (!sizes_grid && !read[param_regs_[i]]) {
      recorder_.Fail(param_locs_[i],
                     absl::StrCat("parameter '", kernel.params[i].name, "' is never used"));
    }
  }
  PTXSMITH_RETURN_IF_ERROR(recorder_.status());
  PTXSMITH_RETURN_IF_ERROR(Verify(kernel));
  return Print(kernel);
}

}  // namespace ptxsmith
