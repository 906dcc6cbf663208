#include "ptx_templates/advance.h"

#include "codegen/kernel_builder.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kThreads = 32;             // more sequences than that are taken in turns
constexpr uint32_t kNoSequence = UINT32_MAX;  // the position of a row without one

}  // namespace

absl::StatusOr<KernelSpec> BuildAdvance(const AdvanceSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), AdvanceSpec::kFamily, target);
  const SizeExpr rows_size = spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(5);
  // Rows without a sequence keep what they have, so nothing is written throughout.
  const auto tokens = k.Param<InOut<U32>>("tokens", {.count = rows_size, .alignment = 4});
  const auto positions = k.Param<InOut<U32>>("positions", {.count = rows_size, .alignment = 4});
  const auto steps = k.Param<InOut<U32>>("steps", {.count = 1, .alignment = 4});
  const auto log = k.Param<InOut<U32>>("log", {.count = rows_size * spec.ring, .alignment = 4});
  const auto picked = k.Param<In<U32>>("picked", {.count = rows_size, .alignment = 4});
  const Dim rows = k.ParamDim("rows", spec.rows);
  k.Launch({.block = {kThreads, 1, 1}});
  k.Costs({.bytes = rows_size * 24 + 8, .flops = 0});

  const Val<U32> step = steps.Load(0);
  k.For(k.ThreadX(), rows, {.step = kThreads}, [&](const Val<U32>& r) {
    const Val<U32> token = picked.Load(r);
    log.Store(step % spec.ring * rows + r, token);
    const Val<U32> position = positions.Load(r);
    k.If(position != kNoSequence, [&] {
      tokens.Store(r, token);
      positions.Store(r, position + 1);
    });
  });
  k.Barrier();  // all have read the count of steps
  k.If(k.ThreadX() == 0, [&] { steps.Store(0, step + 1); });
  return std::move(k).Finish();
}

std::vector<AdvanceSpec> AdvanceVariants() {
  return {{1, 64}, {1, 1}, {5, 3}, {33, 4}, {std::nullopt, 64}};
}

}  // namespace ptxsmith
