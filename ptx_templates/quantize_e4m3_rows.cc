#include "ptx_templates/quantize_e4m3_rows.h"

#include "codegen/block.h"
#include "codegen/kernel_builder.h"
#include "codegen/math.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kPerThread = 8;
constexpr float kLargestE4M3 = 448.0f;

}  // namespace

absl::StatusOr<KernelSpec> BuildQuantizeE4M3Rows(const QuantizeE4M3RowsSpec& spec,
                                                 const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), QuantizeE4M3RowsSpec::kFamily, target);
  const uint32_t first_dim = 3;
  const SizeExpr k_size = spec.k ? SizeExpr(*spec.k) : SizeExpr::Param(first_dim);
  const SizeExpr rows = spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(first_dim + !spec.k);
  const auto y = k.Param<Out<U8>>("y", {.count = rows * k_size});
  const auto scale = k.Param<Out<F32>>("scale", {.count = rows});
  const auto x = k.Param<In<F16>>("x", {.count = rows * k_size});
  const Dim columns = k.ParamDim("k", spec.k, kPerThread);
  k.ParamDim("rows", spec.rows);
  k.Launch({.block = {spec.threads, 1, 1}, .grid = {rows, 1, 1}});
  k.Costs({.bytes = rows * k_size * 3 + rows * 4, .flops = rows * k_size * 2});

  const In<F16> row = x.At(k.CtaX() * columns);
  const auto load = [&](const Val<U32>& i) { return row.At(i * kPerThread).As<U32>().Load<4>(0); };
  Var<F32> largest = k.NewVar<F32>(0.0f);
  const Val<U32> pieces = columns / kPerThread;
  k.For(k.ThreadX(), pieces, {.step = spec.threads}, [&](const Val<U32>& i) {
    for (const Val<U32>& word : load(i)) {
      for (const Val<F32>& v : UnpackHalf2(word)) largest = Max(largest, Abs(v));
    }
  });
  const Val<F32> most = BlockMax(k, largest, spec.threads / kWarpLanes, "largest");
  const Val<F32> stretch =
      Select<F32>(most == 0.0f, 0.0f, Constant<F32>(most, kLargestE4M3) / most);
  k.If(k.ThreadX() == 0, [&] { scale.Store(k.CtaX(), most / kLargestE4M3); });
  const Out<U8> y_row = y.At(k.CtaX() * columns);
  k.For(k.ThreadX(), pieces, {.step = spec.threads}, [&](const Val<U32>& i) {
    const Vec<U32, 4> words = load(i);
    y_row.At(i * kPerThread).As<U32>().Store<2>(0, MakeVec<2>([&](size_t w) {
                                                  const Vec<F32, 2> low = UnpackHalf2(words[2 * w]);
                                                  const Vec<F32, 2> high =
                                                      UnpackHalf2(words[2 * w + 1]);
                                                  const auto scaled = [&](size_t e) {
                                                    return (e < 2 ? low[e] : high[e - 2]) * stretch;
                                                  };
                                                  return PackE4M3x4(MakeVec<4>(scaled));
                                                }));
  });
  return std::move(k).Finish();
}

std::vector<QuantizeE4M3RowsSpec> QuantizeE4M3RowsVariants() {
  return {{1000, 3, 64}, {8, 2, 32}, {4096, 2, 256}, {std::nullopt, std::nullopt, 128}};
}

}  // namespace ptxsmith
