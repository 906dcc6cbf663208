#include "ptx_templates/projection.h"

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "codegen/warp.h"

namespace ptxsmith {
namespace {

// "w" of the only matrix, "w0", "w1" of several.
std::string Name(absl::string_view what, size_t i, size_t count) {
  return count == 1 ? std::string(what) : absl::StrCat(what, i);
}

// The item of the matrix that the output belongs to; begins[i] is the first output of matrix i.
template <class T>
T Pick(const Val<U32>& output, const std::vector<Val<U32>>& begins, const std::vector<T>& items,
       size_t i) {
  if (i == 0) return items[0];
  return Select(output >= begins[i], items[i], Pick(output, begins, items, i - 1));
}

// Y is Out<F32>, or InOut<F32> when the result is added.
template <class Y>
absl::StatusOr<KernelSpec> Build(const Projection& p, const Target& target) {
  const size_t count = p.n.size();
  const Decoder& decoder = DecoderFor(p.shape.quant);
  KernelBuilder k(p.key, p.family, target);

  // Sizes come after the buffers in the signature, but buffers are sized by them.
  uint32_t next_dim = static_cast<uint32_t>((p.bias ? 3 : 2) * count) + p.shape.input_params();
  const auto size_of = [&](const std::optional<uint32_t>& baked) {
    return baked ? SizeExpr(*baked) : SizeExpr::Param(next_dim++);
  };
  const SizeExpr k_size = size_of(p.k);
  const SizeExpr row_bytes = CeilDiv(k_size, decoder.chunk_weights) * decoder.chunk_bytes;
  std::vector<SizeExpr> n_size;
  SizeExpr outputs = 0;
  for (const std::optional<uint32_t>& n : p.n) outputs = outputs + n_size.emplace_back(size_of(n));

  const uint32_t m = p.shape.m;
  std::vector<Y> y;
  std::vector<In<U8>> w;
  std::vector<In<F32>> bias;
  for (size_t i = 0; i < count; ++i) {
    y.push_back(k.Param<Y>(Name("y", i, count), {.count = n_size[i] * m}));
  }
  for (size_t i = 0; i < count; ++i) {
    w.push_back(
        k.Param<In<U8>>(Name("w", i, count), {.count = n_size[i] * row_bytes, .constant = true}));
  }
  const GemvActivations x = ActivationParams(k, p.shape, k_size);
  for (size_t i = 0; p.bias && i < count; ++i) {
    bias.push_back(
        k.Param<In<F32>>(Name("bias", i, count), {.count = n_size[i], .constant = true}));
  }
  const Dim cols = k.ParamDim("k", p.k, decoder.chunk_weights);
  std::vector<Val<U32>> rows, begins;
  const auto add_rows = [&](const auto& self, const Val<U32>& begin, size_t i) -> Val<U32> {
    if (i == count) return begin;
    begins.push_back(begin);
    rows.push_back(k.ParamDim(Name("n", i, count), p.n[i]));
    return self(self, begin + rows[i], i + 1);
  };
  const Val<U32> total = add_rows(add_rows, k.Const<U32>(0), 0);

  const uint32_t per_block = p.shape.outputs_per_block;
  k.Launch({.block = {kWarpLanes * p.shape.warps(), 1, 1},
            .grid = {CeilDiv(outputs, per_block), 1, 1},
            .min_blocks_per_sm = p.shape.min_blocks_per_sm()});
  k.Costs({.bytes = outputs * row_bytes + (ActivationBytes(p.shape, k_size) + outputs * 4) * m,
           .flops = outputs * k_size * (2 * m)});

  GemvBlock block(k, p.shape, cols);
  const Val<U32>& output = block.output();
  const bool whole_blocks = total.constant() && *total.constant() % per_block == 0;
  const Pred exists = whole_blocks ? k.True() : output < total;
  const size_t last = count - 1;
  const Val<U32> row = output - Pick(output, begins, begins, last);
  const In<U8> w_row =
      Pick(output, begins, w, last).At(row * (cols / decoder.chunk_weights), decoder.chunk_bytes);
  const Val<F32> product = block.Multiply(x, {w_row}, exists)[0];

  block.ForOwnOutputs(exists, [&](const Val<U32>& token) {
    const Val<U32> at = token * Pick(output, begins, rows, last) + row;
    const Y to = Pick(output, begins, y, last);
    const Val<F32> biased = p.bias ? product + Pick(output, begins, bias, last).Load(row) : product;
    if constexpr (std::is_same_v<Y, InOut<F32>>) {
      to.Store(at, to.Load(at) + biased);
    } else {
      to.Store(at, biased);
    }
  });
  return std::move(k).Finish();
}

}  // namespace

absl::StatusOr<KernelSpec> BuildProjection(const Projection& projection, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckGemvShape(projection.family, projection.shape, projection.k));
  return projection.residual ? Build<InOut<F32>>(projection, target)
                             : Build<Out<F32>>(projection, target);
}

}  // namespace ptxsmith
