#include "runtime/launch.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "codegen/status_macros.h"
#include "runtime/graph.h"

namespace ptxsmith {
namespace {

// Blocks per grid dimension that every architecture takes.
constexpr std::array<uint64_t, 3> kMaxGrid = {(uint64_t{1} << 31) - 1, 65535, 65535};

template <class... Parts>
absl::Status Refuse(const KernelSpec& spec, const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(spec.key, ": ", parts...));
}

absl::Status CheckCount(const KernelSpec& spec, size_t given) {
  if (given == spec.params.size()) return absl::OkStatus();
  const auto name = [](std::string* out, const ParamDesc& param) { out->append(param.name); };
  return Refuse(spec, given, " arguments for ", spec.params.size(), " parameters (",
                absl::StrJoin(spec.params, ", ", name), ")");
}

// The 64 bits a parameter is passed in; scalars use the low half, which comes first in memory.
absl::StatusOr<uint64_t> ValueOf(const KernelSpec& spec, const ParamDesc& param, const Arg& arg) {
  constexpr absl::string_view kKinds[] = {"a buffer", "an integer", "a float"};
  const size_t wanted = IsPointer(param.kind) ? 0 : param.type == ElemType::kF32 ? 2 : 1;
  if (arg.index() != wanted) {
    return Refuse(spec, "parameter '", param.name, "' is ", kKinds[wanted], ", the argument is ",
                  kKinds[arg.index()]);
  }
  if (const auto* view = std::get_if<BufferView>(&arg)) {
    if (param.alignment == 0 || view->ptr % param.alignment == 0) return view->ptr;
    return Refuse(spec, "parameter '", param.name, "' must be aligned to ", param.alignment,
                  " bytes, its address is ", view->ptr);
  }
  if (const auto* number = std::get_if<float>(&arg)) {
    uint32_t bits = 0;
    std::memcpy(&bits, number, sizeof(bits));
    return bits;
  }
  const uint32_t value = *std::get_if<uint32_t>(&arg);
  if (param.multiple_of > 1 && value % param.multiple_of != 0) {
    return Refuse(spec, "parameter '", param.name, "' is ", value, ", which is not a multiple of ",
                  param.multiple_of);
  }
  return value;
}

// An expression of the kernel, named in the message if it cannot be evaluated.
absl::StatusOr<uint64_t> Evaluate(const KernelSpec& spec, absl::string_view what,
                                  const SizeExpr& expr, absl::Span<const uint64_t> values) {
  absl::StatusOr<uint64_t> result = expr.Evaluate(values);
  if (result.ok()) return result;
  return Refuse(spec, what, ": ", result.status().message());
}

absl::Status CheckSize(const KernelSpec& spec, const ParamDesc& param, const BufferView& view,
                       absl::Span<const uint64_t> values) {
  PTXSMITH_ASSIGN_OR_RETURN(
      const uint64_t count,
      Evaluate(spec, absl::StrCat("size of '", param.name, "'"), param.count, values));
  const uint64_t element = ByteSize(param.type);
  // Divided rather than multiplied: a count near 2^64 must not wrap around.
  if (count <= view.bytes / element) return absl::OkStatus();
  return Refuse(spec, "parameter '", param.name, "' needs ", count, " elements of ", element,
                " bytes, the buffer has ", view.bytes, " bytes");
}

}  // namespace

absl::StatusOr<BoundLaunch> Bind(std::shared_ptr<const Module> module, absl::Span<const Arg> args) {
  const KernelSpec& spec = module->spec();
  PTXSMITH_RETURN_IF_ERROR(CheckCount(spec, args.size()));
  BoundLaunch bound;
  for (size_t i = 0; i < args.size(); ++i) {
    PTXSMITH_ASSIGN_OR_RETURN(const uint64_t value, ValueOf(spec, spec.params[i], args[i]));
    bound.values_.push_back(value);
  }
  // Sizes depend on scalars anywhere in the list, hence a second pass.
  for (size_t i = 0; i < args.size(); ++i) {
    const auto* view = std::get_if<BufferView>(&args[i]);
    if (view == nullptr) continue;
    PTXSMITH_RETURN_IF_ERROR(CheckSize(spec, spec.params[i], *view, bound.values_));
  }
  for (size_t d = 0; d < kMaxGrid.size(); ++d) {
    const std::string what = absl::StrCat("grid.", absl::string_view("xyz").substr(d, 1));
    PTXSMITH_ASSIGN_OR_RETURN(const uint64_t blocks,
                              Evaluate(spec, what, spec.launch.grid[d], bound.values_));
    if (blocks > kMaxGrid[d]) {
      return Refuse(spec, what, " is ", blocks, " blocks, the limit is ", kMaxGrid[d]);
    }
    bound.raw_.grid[d] = static_cast<uint32_t>(blocks);
  }
  PTXSMITH_ASSIGN_OR_RETURN(bound.bytes_,
                            Evaluate(spec, "cost in bytes", spec.cost.bytes, bound.values_));
  PTXSMITH_ASSIGN_OR_RETURN(bound.flops_,
                            Evaluate(spec, "cost in flops", spec.cost.flops, bound.values_));
  for (uint64_t& value : bound.values_) bound.pointers_.push_back(&value);
  bound.raw_.params = bound.pointers_.data();
  bound.raw_.dynamic_shared = spec.dynamic_shared;
  bound.raw_.module = module.get();
  bound.module_ = std::move(module);
  return bound;
}

absl::Status Enqueue(const BoundLaunch& launch, const Stream& stream) {
  const auto& grid = launch.grid();
  if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0) return absl::OkStatus();
  Device& device = *stream.device();
  const DebugFlags& debug = device.debug();
  if (debug.level >= 2) {
    debug.log(absl::StrCat("launch ", launch.module().spec().key, " grid ", grid[0], "x", grid[1],
                           "x", grid[2], ", ", launch.bytes(), " bytes, ", launch.flops(),
                           " flops"));
  }
  if (GraphRecorder* const recorder = stream.recorder()) {
    recorder->Add(launch.module_, launch.raw_);
    if (!recorder->capturing()) return absl::OkStatus();
    return device.RawLaunchKernel(stream.handle(), launch.raw_);
  }
  PTXSMITH_RETURN_IF_ERROR(device.RawLaunchKernel(stream.handle(), launch.raw_));
  if (!debug.sync) return absl::OkStatus();
  absl::Status status = device.RawSynchronize(stream.handle());
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      absl::StrCat("in ", launch.module().spec().key, ": ", status.message()));
}

}  // namespace ptxsmith
