#include "ptx_templates/sample.h"

#include "codegen/kernel_builder.h"
#include "codegen/math.h"
#include "codegen/ops.h"

namespace ptxsmith {
namespace {

// Places in the settings.
constexpr uint32_t kTemperature = 0, kTopP = 1, kMinP = 2, kPenalty = 3, kCount = 4;

}  // namespace

absl::StatusOr<KernelSpec> BuildSample(const SampleSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), SampleSpec::kFamily, target);
  const auto picked = k.Param<Out<U32>>("picked", {.count = spec.rows, .alignment = 4});
  const auto histories =
      k.Param<InOut<U32>>("history", {.count = spec.slots * kSampleHistory, .alignment = 4});
  const auto draws = k.Param<InOut<U32>>("draws", {.count = spec.slots, .alignment = 4});
  const auto all_values = k.Param<In<F32>>("values", {.count = spec.rows * spec.k, .alignment = 4});
  const auto all_indices =
      k.Param<In<U32>>("indices", {.count = spec.rows * spec.k, .alignment = 4});
  const auto all_uniforms =
      k.Param<In<F32>>("uniforms", {.count = spec.slots * kSampleUniforms, .alignment = 4});
  const auto all_settings =
      k.Param<In<F32>>("settings", {.count = spec.slots * kSampleSettings, .alignment = 4});
  const auto slot_of = k.Param<In<U32>>("slot_of", {.count = spec.rows, .alignment = 4});
  k.Launch({.block = {kMaxCandidates, 1, 1}, .grid = {spec.rows, 1, 1}});
  k.Costs({.bytes = SizeExpr(spec.rows * spec.k * 8), .flops = SizeExpr(spec.rows * spec.k * 50)});

  const Val<U32> row = k.CtaX();
  const Val<U32> slot = slot_of.Load(row);
  const auto values = all_values.At(row * spec.k);
  const auto indices = all_indices.At(row * spec.k);
  const auto settings = all_settings.At(slot * kSampleSettings);
  const Val<U32> wanted = Bitcast<U32>(settings.Load(kCount));
  const Val<U32> candidates = Select<U32>(wanted < spec.k, wanted, spec.k);

  // All exponentials side by side; the sums, which have an order, by one thread.
  const auto plain = k.SharedArray<F32>("plain", spec.k);
  const auto heated = k.SharedArray<F32>("heated", spec.k);
  k.If(k.ThreadX() < spec.k, [&] {
    const Val<F32> below = values.Load(k.ThreadX()) - values.Load(0);
    plain.Store(k.ThreadX(), Exp(below));
    heated.Store(k.ThreadX(), Exp(below / settings.Load(kTemperature)));
  });
  k.Barrier();
  k.If(k.ThreadX() == 0, [&] {
    Var<F32> sum = k.NewVar<F32>(0.0f);
    k.For(0, candidates, {}, [&](const Val<U32>& j) { sum += plain.Load(j); });
    const Val<F32> top_p = settings.Load(kTopP);
    const Val<F32> enough = top_p * sum;
    const Val<F32> least = settings.Load(kMinP);
    // The candidates fall, so those kept are the first ones.
    Var<F32> kept = k.NewVar<F32>(0.0f);
    Var<F32> total = k.NewVar<F32>(0.0f);
    Var<U32> count = k.NewVar<U32>(0);
    k.For(0, candidates, {}, [&](const Val<U32>& j) {
      const Val<F32> p = plain.Load(j);
      k.If((kept < enough || top_p == 1.0f) && p >= least, [&] {
        kept += p;
        total += heated.Load(j);
        count = j + 1;
      });
    });
    const Val<U32> draw = draws.Load(slot);
    const Val<F32> uniform = all_uniforms.Load(slot * kSampleUniforms + draw % kSampleUniforms);
    const Val<F32> target_sum = uniform * total;
    Var<F32> running = k.NewVar<F32>(0.0f);
    // The largest, should a rounding leave a rest.
    Var<U32> choice = k.NewVar<U32>(0);
    k.For(0, count, {}, [&](const Val<U32>& j) {
      const Val<F32> before = running;
      running = before + heated.Load(j);
      k.If(before <= target_sum && running > target_sum, [&] { choice = j; });
    });
    const Val<U32> token = indices.Load(choice);
    picked.Store(row, token);
    histories.Store(slot * kSampleHistory + draw % kSampleHistory, token);
    draws.Store(slot, draw + 1);
  });
  return std::move(k).Finish();
}

absl::StatusOr<KernelSpec> BuildPenalize(const PenalizeSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), PenalizeSpec::kFamily, target);
  const SizeExpr size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(4);
  const auto all_x = k.Param<InOut<F32>>("x", {.count = size * spec.rows, .alignment = 4});
  const auto histories =
      k.Param<In<U32>>("history", {.count = spec.slots * kSampleHistory, .alignment = 4});
  const auto settings =
      k.Param<In<F32>>("settings", {.count = spec.slots * kSampleSettings, .alignment = 4});
  const auto slot_of = k.Param<In<U32>>("slot_of", {.count = spec.rows, .alignment = 4});
  const Dim n = k.ParamDim("n", spec.n);
  k.Launch({.block = {kSampleHistory, 1, 1}, .grid = {spec.rows, 1, 1}});
  k.Costs({.bytes = SizeExpr(spec.rows * kSampleHistory * 12),
           .flops = SizeExpr(spec.rows * kSampleHistory)});

  const Val<U32> slot = slot_of.Load(k.CtaX());
  const auto x = all_x.At(k.CtaX() * n);
  const auto history = histories.At(slot * kSampleHistory);
  const Val<U32> token = history.Load(k.ThreadX());
  Var<U32> earlier = k.NewVar<U32>(0);  // places before this one with the same token
  k.For(0, k.ThreadX(), {},
        [&](const Val<U32>& i) { earlier += Select<U32>(history.Load(i) == token, 1, 0); });
  k.If(token < n && earlier == 0, [&] {
    const Val<F32> logit = x.Load(token);
    const Val<F32> penalty = settings.Load(slot * kSampleSettings + kPenalty);
    x.Store(token, Select<F32>(logit > 0.0f, logit / penalty, logit * penalty));
  });
  return std::move(k).Finish();
}

std::vector<SampleSpec> SampleVariants() { return {{40}, {1}, {64}, {7, 3, 5}}; }

std::vector<PenalizeSpec> PenalizeVariants() { return {{1000}, {std::nullopt, 2, 3}, {1}}; }

}  // namespace ptxsmith
