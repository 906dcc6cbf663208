#include "ptx_templates/rms_norm.h"

#include <optional>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "codegen/block.h"
#include "codegen/kernel_builder.h"
#include "ptx_templates/blocked_half.h"

namespace ptxsmith {

namespace {

// The kernel with x of type X: In<F32>, or InOut<F32> to add the residual to; y has elements of Y.
template <class X, class Y>
absl::StatusOr<KernelSpec> Build(const RmsNormSpec& spec, const Target& target) {
  KernelBuilder k(KeyOf(spec, target), RmsNormSpec::kFamily, target);

  const uint32_t first_dim = spec.residual ? 4 : 3;
  const SizeExpr n_size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(first_dim);
  const SizeExpr rows_size =
      spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(first_dim + !spec.n);
  const SizeExpr count = rows_size * n_size;
  const auto y =
      k.Param<Out<Y>>("y", {.count = spec.blocked ? BlockedCount(rows_size, n_size) : count});
  const X x = k.Param<X>("x", {.count = count});
  std::optional<In<F32>> r;
  if (spec.residual) r = k.Param<In<F32>>("r", {.count = count});
  const auto weight = k.Param<In<F32>>("weight", {.count = n_size, .constant = true});
  const Dim n = k.ParamDim("n", spec.n, spec.blocked ? kBlockColumns : 1);
  k.ParamDim("rows", spec.rows);

  k.Launch({.block = {spec.threads, 1, 1}, .grid = {rows_size, 1, 1}});
  k.Costs(
      {.bytes = count * ((spec.residual ? 12 : 4) + kByteSize<Y>)+n_size * 4, .flops = count * 4});

  const Val<U32> thread = k.ThreadX();
  const Val<U32> row = k.CtaX() * n;
  const X x_row = x.At(row);
  const Out<Y> y_row = y.At(row);

  Var<F32> squares = k.NewVar<F32>(0.0f);
  k.For(thread, n, {.step = spec.threads}, [&](const Val<U32>& i) {
    if constexpr (std::is_same_v<X, InOut<F32>>) {
      const Val<F32> v = x_row.Load(i) + r->At(row).Load(i);
      x_row.Store(i, v);
      squares.Fma(v, v);
    } else {
      const Val<F32> v = x_row.Load(i);
      squares.Fma(v, v);
    }
  });
  const Val<F32> sum = BlockSum(k, squares, spec.threads / kWarpLanes, "sums");
  const Val<F32> mean = sum / ToF32(n);
  const Val<F32> scale = Constant<F32>(mean, 1.0f) / Sqrt(mean + spec.eps);
  // A thread reads back the elements it has itself written: no barrier is needed for them.
  k.For(thread, n, {.step = spec.threads}, [&](const Val<U32>& i) {
    const Val<F32> v = x_row.Load(i) * scale * weight.Load(i);
    if constexpr (std::is_same_v<Y, F16>) {
      if (spec.blocked) {
        y.Store(BlockedPiece(k.CtaX(), i, n) + i % kPieceHalves, ToF16(v));
      } else {
        y_row.Store(i, ToF16(v));
      }
    } else {
      y_row.Store(i, v);
    }
  });
  return std::move(k).Finish();
}

}  // namespace

absl::StatusOr<KernelSpec> BuildRmsNorm(const RmsNormSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  if (!(spec.eps >= 0)) {
    return absl::InvalidArgumentError(absl::StrCat("rms_norm: eps=", spec.eps, " is negative"));
  }
  if (spec.blocked) {
    PTXSMITH_RETURN_IF_ERROR(CheckBlocked(RmsNormSpec::kFamily, "n", spec.n));
    if (!spec.half) return absl::InvalidArgumentError("rms_norm: blocked=1 needs half=1");
  }
  if (spec.half) {
    return spec.residual ? Build<InOut<F32>, F16>(spec, target) : Build<In<F32>, F16>(spec, target);
  }
  return spec.residual ? Build<InOut<F32>, F32>(spec, target) : Build<In<F32>, F32>(spec, target);
}

std::vector<RmsNormSpec> RmsNormVariants() {
  std::vector<RmsNormSpec> variants;
  for (uint32_t threads : {32u, 64u, 128u, 256u, 512u, 1024u}) {
    variants.push_back({256, 1, 1e-5f, threads});
    variants.push_back({1000, 3, 1e-6f, threads});
  }
  variants.push_back({4096, 1, 1e-5f, 1024});
  variants.push_back({1, 1, 0.0f, 32});
  variants.push_back({std::nullopt, std::nullopt, 1e-5f, 256});
  variants.push_back({1000, 3, 1e-5f, 128, true});
  variants.push_back({std::nullopt, std::nullopt, 1e-6f, 256, true});
  variants.push_back({80, 24, 1e-6f, 32});  // heads of three tokens
  variants.push_back({1000, 3, 1e-6f, 128, true, true});
  variants.push_back({std::nullopt, std::nullopt, 1e-5f, 256, false, true});
  variants.push_back({320, 131, 1e-6f, 128, true, true, true});
  variants.push_back({std::nullopt, std::nullopt, 1e-5f, 256, false, true, true});
  return variants;
}

}  // namespace ptxsmith
