#include "ptx_templates/sample.h"

#include "codegen/kernel_builder.h"
#include "codegen/math.h"

namespace ptxsmith {
namespace {

// Places in the settings.
constexpr uint32_t kTemperature = 0, kTopP = 1, kMinP = 2, kPenalty = 3;

}  // namespace

absl::StatusOr<KernelSpec> BuildSample(const SampleSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), SampleSpec::kFamily, target);
  const auto picked = k.Param<Out<U32>>("picked", {.count = 1, .alignment = 4});
  const auto history = k.Param<InOut<U32>>("history", {.count = kSampleHistory, .alignment = 4});
  const auto values = k.Param<In<F32>>("values", {.count = spec.k, .alignment = 4});
  const auto indices = k.Param<In<U32>>("indices", {.count = spec.k, .alignment = 4});
  const auto uniforms = k.Param<In<F32>>("uniforms", {.count = kSampleUniforms, .alignment = 4});
  const auto settings = k.Param<In<F32>>("settings", {.count = kSampleSettings, .alignment = 4});
  const auto steps = k.Param<In<U32>>("steps", {.count = 1, .alignment = 4});
  k.Launch({.block = {kMaxCandidates, 1, 1}});
  k.Costs({.bytes = SizeExpr(spec.k * 8), .flops = SizeExpr(spec.k * 50)});

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
    k.For(0, spec.k, {}, [&](const Val<U32>& j) { sum += plain.Load(j); });
    const Val<F32> top_p = settings.Load(kTopP);
    const Val<F32> enough = top_p * sum;
    const Val<F32> least = settings.Load(kMinP);
    // The candidates fall, so those kept are the first ones.
    Var<F32> kept = k.NewVar<F32>(0.0f);
    Var<F32> total = k.NewVar<F32>(0.0f);
    Var<U32> count = k.NewVar<U32>(0);
    k.For(0, spec.k, {}, [&](const Val<U32>& j) {
      const Val<F32> p = plain.Load(j);
      k.If((kept < enough || top_p == 1.0f) && p >= least, [&] {
        kept += p;
        total += heated.Load(j);
        count = j + 1;
      });
    });
    const Val<U32> step = steps.Load(0);
    const Val<F32> target_sum = uniforms.Load(step % kSampleUniforms) * total;
    Var<F32> running = k.NewVar<F32>(0.0f);
    // The largest, should a rounding leave a rest.
    Var<U32> choice = k.NewVar<U32>(0);
    k.For(0, count, {}, [&](const Val<U32>& j) {
      const Val<F32> before = running;
      running = before + heated.Load(j);
      k.If(before <= target_sum && running > target_sum, [&] { choice = j; });
    });
    const Val<U32> token = indices.Load(choice);
    picked.Store(0, token);
    history.Store(step % kSampleHistory, token);
  });
  return std::move(k).Finish();
}

absl::StatusOr<KernelSpec> BuildPenalize(const PenalizeSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), PenalizeSpec::kFamily, target);
  const SizeExpr size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(3);
  const auto x = k.Param<InOut<F32>>("x", {.count = size, .alignment = 4});
  const auto history = k.Param<In<U32>>("history", {.count = kSampleHistory, .alignment = 4});
  const auto settings = k.Param<In<F32>>("settings", {.count = kSampleSettings, .alignment = 4});
  const Dim n = k.ParamDim("n", spec.n);
  k.Launch({.block = {kSampleHistory, 1, 1}});
  k.Costs({.bytes = SizeExpr(kSampleHistory * 12), .flops = SizeExpr(kSampleHistory)});

  const Val<U32> token = history.Load(k.ThreadX());
  Var<U32> earlier = k.NewVar<U32>(0);  // places before this one with the same token
  k.For(0, k.ThreadX(), {},
        [&](const Val<U32>& i) { earlier += Select<U32>(history.Load(i) == token, 1, 0); });
  k.If(token < n && earlier == 0, [&] {
    const Val<F32> logit = x.Load(token);
    const Val<F32> penalty = settings.Load(kPenalty);
    x.Store(token, Select<F32>(logit > 0.0f, logit / penalty, logit * penalty));
  });
  return std::move(k).Finish();
}

std::vector<SampleSpec> SampleVariants() { return {{40}, {1}, {64}, {7}}; }

std::vector<PenalizeSpec> PenalizeVariants() { return {{1000}, {std::nullopt}, {1}}; }

}  // namespace ptxsmith
