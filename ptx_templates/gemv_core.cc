#include "ptx_templates/gemv_core.h"

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "codegen/warp.h"

namespace ptxsmith {
namespace {

// byte - bias as signed bytes. All of ours fit.
Val<U32> SignedBytes(const PackedGroup& group) {
  if (group.bias == 0) return group.bytes;  // at most 31
  if (group.bias == 128) return group.bytes ^ 0x80808080;
  // Bytes and biases are below 64: with the top bits set no byte borrows from the next, and
  // flipping them back subtracts the 128 again.
  return ((group.bytes | 0x80808080) - group.bias * 0x01010101) ^ 0x80808080;
}

// a . b of four signed bytes as a float, exact: the sum starts at the bits of 1.5 * 2^23, where
// counting up by one adds 1.0. A conversion instruction would run at an eighth of the rate: see
// BytesToF32.
Val<F32> DotAsFloat(const Val<U32>& a, const Val<U32>& b) {
  constexpr int32_t kBits = 0x4b400000;
  return Bitcast<F32>(Dp4a(a, b, kBits)) - 12582912.0f;
}

Vec<F32, 4> Scaled(const Vec<F32, 4>& x, const std::optional<Vec<F32, 4>>& factor) {
  return factor ? MakeVec<4>([&](size_t i) { return x[i] * (*factor)[i]; }) : x;
}

}  // namespace

absl::Status CheckGemvShape(absl::string_view family, const GemvShape& shape,
                            std::optional<uint32_t> k) {
  if (k) PTXSMITH_RETURN_IF_ERROR(CheckK(family, shape.quant, *k));
  const uint32_t share = kUnitWeights * shape.warps_per_output;
  if (shape.stage % share != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(family, ": stage=", shape.stage, " is not a multiple of ", share,
                     ", a unit for each of the ", shape.warps_per_output, " warps of an output"));
  }
  if (shape.norm_eps && !(*shape.norm_eps >= 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat(family, ": eps=", *shape.norm_eps, " is negative"));
  }
  if (!shape.q8_1) return absl::OkStatus();
  if (DecoderFor(shape.quant).packed == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(family, ": quant=", ToString(shape.quant),
                     " has no integer form for activations of type q8_1"));
  }
  if (shape.stage != 0 || shape.norm_eps) {
    return absl::InvalidArgumentError(
        absl::StrCat(family, ": activations of type q8_1 are neither staged nor normalised"));
  }
  return absl::OkStatus();
}

SizeExpr ActivationBytes(const GemvShape& shape, const SizeExpr& k_size) {
  return shape.q8_1 ? CeilDiv(k_size, kQ8_1Block) * kQ8_1Bytes : k_size * 4;
}

GemvActivations ActivationParams(KernelBuilder& k, const GemvShape& shape, const SizeExpr& k_size) {
  if (shape.q8_1) {
    return GemvInputQ8_1{k.Param<In<U8>>("x", {.count = ActivationBytes(shape, k_size) * shape.m})};
  }
  const auto x = k.Param<In<F32>>("x", {.count = k_size * shape.m});
  if (!shape.norm_eps) return GemvInput{x, {}};
  return GemvInput{x, k.Param<In<F32>>("weight", {.count = k_size, .constant = true})};
}

GemvBlock::GemvBlock(KernelBuilder& k, const GemvShape& shape, const Dim& cols)
    : k_(k),
      shape_(shape),
      decoder_(DecoderFor(shape.quant)),
      cols_(cols),
      lane_(k.Lane()),
      warp_(k.Warp()),
      output_(k.CtaX() * shape.outputs_per_block + warp_ / shape.warps_per_output),
      part_(warp_ % shape.warps_per_output),
      token_(shape.m == 1 ? k.Const<U32>(0) : Min(lane_, Operand<U32>(shape.m - 1))),
      units_((cols + (kUnitWeights - 1)) / kUnitWeights) {
  for (uint32_t t = 0; t < shape.m; ++t) token_start_.push_back(cols * t);
}

GemvBlock::Sums GemvBlock::NewSums() {
  Sums sums;
  for (uint32_t t = 0; t < shape_.m; ++t) sums.emplace_back(&k_.recorder(), 0.0f);
  return sums;
}

template <class Load>
void GemvBlock::AddFloats(absl::Span<const In<U8>> rows, const Val<U32>& unit, const Load& load,
                          std::vector<Sums>& sums) {
  std::vector<LaneGroups<FloatGroup>> weights;
  for (const In<U8>& row : rows) weights.push_back(DecodeFloats(decoder_, row, unit, lane_));
  for (size_t group = 0; group < 2; ++group) {
    const auto load_token = load(weights[0][group].first);
    for (uint32_t t = 0; t < shape_.m; ++t) {
      const Vec<F32, 4> x = load_token(t);
      for (size_t r = 0; r < rows.size(); ++r) {
        for (size_t i = 0; i < 4; ++i) sums[r][t].Fma(weights[r][group].weights[i], x[i]);
      }
    }
  }
}

void GemvBlock::AddUnit(const GemvInput& x, absl::Span<const In<U8>> rows, const Val<U32>& unit,
                        std::vector<Sums>& sums) {
  const auto load = [&](const Val<U32>& first) {
    const Val<U32> column = unit * kUnitWeights + first;
    std::optional<Vec<F32, 4>> factor;
    if (x.norm_weight) factor.emplace(x.norm_weight->Load<4>(column));
    return [this, factor, at = x.x.At(column)](uint32_t t) {
      return Scaled(at.Load<4>(token_start_[t]), factor);
    };
  };
  AddFloats(rows, unit, load, sums);
}

void GemvBlock::AddUnit(const GemvInputQ8_1& x, absl::Span<const In<U8>> rows, const Val<U32>& unit,
                        std::vector<Sums>& sums) {
  std::vector<LaneGroups<PackedGroup>> weights;
  weights.reserve(rows.size());
  for (const In<U8>& row : rows) weights.push_back(decoder_.packed(row, unit, lane_));
  for (size_t group = 0; group < 2; ++group) {
    const Val<U32>& first = weights[0][group].first;
    const Val<U32> block = unit * (kUnitWeights / kQ8_1Block) + first / kQ8_1Block;
    const In<U8> at = x.x.At(block, kQ8_1Bytes);
    std::vector<Val<U32>> signed_bytes;
    signed_bytes.reserve(weights.size());
    for (const auto& row : weights) signed_bytes.push_back(SignedBytes(row[group]));
    const Val<U32> ones = k_.Const<U32>(0x01010101);
    for (uint32_t t = 0; t < shape_.m; ++t) {
      const In<U8> token = at.At(token_start_[t] / kQ8_1Block, kQ8_1Bytes);
      const Val<F32> d = ToF32(token.As<F16>().Load(0));
      const Val<U32> q = token.At(4 + first % kQ8_1Block).As<U32>().Load(0);
      std::optional<Val<F32>> sum;  // of the quants; all rows share it
      for (size_t r = 0; r < rows.size(); ++r) {
        const PackedGroup& w = weights[r][group];
        const Val<F32> product = w.scale * DotAsFloat(signed_bytes[r], q);
        if (!w.offset) {
          sums[r][t].Fma(d, product);
          continue;
        }
        if (!sum) sum.emplace(DotAsFloat(ones, q));
        sums[r][t].Fma(d, ptxsmith::Fma(*w.offset, *sum, product));
      }
    }
  }
}

void GemvBlock::AddStaged(const GemvInput& x, absl::Span<const In<U8>> rows, const Pred& exists,
                          std::vector<Sums>& sums) {
  const uint32_t phase_units = shape_.stage / kUnitWeights;
  const Shared<F32> staged = k_.SharedArray<F32>("staged", shape_.m * shape_.stage);
  const bool one_phase = cols_.constant() && *cols_.constant() <= shape_.stage;
  k_.For(0, units_, {.step = phase_units}, [&](const Val<U32>& phase) {
    const Val<U32> start = phase * kUnitWeights;
    const Val<U32> count = Min(cols_ - start, Operand<U32>(shape_.stage));
    k_.For(k_.ThreadX() * 4, count, {.step = 128 * shape_.warps()}, [&](const Val<U32>& i) {
      std::optional<Vec<F32, 4>> factor;
      if (x.norm_weight) factor.emplace(x.norm_weight->At(start).Load<4>(i));
      const In<F32> at = x.x.At(start).At(i);
      for (uint32_t t = 0; t < shape_.m; ++t) {
        staged.At(t * shape_.stage).Store<4>(i, Scaled(at.Load<4>(token_start_[t]), factor));
      }
    });
    k_.Barrier();
    const auto add_unit = [&](const Val<U32>& unit) {
      const auto load = [&](const Val<U32>& first) {
        return [this, at = staged.At((unit - phase) * kUnitWeights + first)](uint32_t t) {
          return at.Load<4>(t * shape_.stage);
        };
      };
      k_.If(ActiveLane(decoder_, cols_, unit, lane_), [&] { AddFloats(rows, unit, load, sums); });
    };
    k_.If(exists, [&] {
      k_.For(phase + part_, Min(phase + phase_units, units_),
             {.step = shape_.warps_per_output, .unroll = shape_.unroll}, add_unit);
    });
    if (!one_phase) k_.Barrier();  // the next phase overwrites what slower warps still read
  });
}

std::vector<Val<F32>> GemvBlock::Multiply(const GemvActivations& x, absl::Span<const In<U8>> rows,
                                          const Pred& exists) {
  std::vector<Sums> sums;
  for (size_t r = 0; r < rows.size(); ++r) sums.push_back(NewSums());
  const auto* floats = std::get_if<GemvInput>(&x);
  if (floats != nullptr && shape_.stage != 0) {
    AddStaged(*floats, rows, exists, sums);
  } else {
    k_.If(exists, [&] {
      k_.For(part_, units_, {.step = shape_.warps_per_output, .unroll = shape_.unroll},
             [&](const Val<U32>& unit) {
               k_.If(ActiveLane(decoder_, cols_, unit, lane_), [&] {
                 std::visit([&](const auto& input) { AddUnit(input, rows, unit, sums); }, x);
               });
             });
    });
  }
  std::optional<Val<F32>> scale;
  if (shape_.norm_eps) scale.emplace(RmsScale(floats->x, *shape_.norm_eps));
  std::vector<Val<F32>> results;
  for (const Sums& row : sums) {
    const Val<F32> sum = Join(row, warp_ - part_, shape_.warps_per_output);
    results.push_back(scale ? sum * *scale : sum);
  }
  return results;
}

Val<F32> GemvBlock::Join(const Sums& sums, const Val<U32>& first_warp, uint32_t warps) {
  const auto of_lane = [&](const auto& self, uint32_t t) -> Val<F32> {
    const Val<F32> total = WarpSum(sums[t]);
    return t == 0 ? total : Select(lane_ < t, self(self, t - 1), total);
  };
  const Val<F32> mine = of_lane(of_lane, shape_.m - 1);
  if (warps == 1) return mine;
  const Shared<F32> parts =
      k_.SharedArray<F32>(absl::StrCat("parts_", joins_++), shape_.warps() * shape_.m);
  k_.If(lane_ < shape_.m, [&] { parts.Store(warp_ * shape_.m + token_, mine); });
  k_.Barrier();
  const auto at = parts.At(first_warp * shape_.m + token_);
  Var<F32> total = k_.NewVar<F32>(at.Load(0));
  for (uint32_t w = 1; w < warps; ++w) total += at.Load(w * shape_.m);
  return total;
}

Val<F32> GemvBlock::RmsScale(const In<F32>& x, float eps) {
  Sums squares = NewSums();
  k_.For(k_.ThreadX(), cols_, {.step = kWarpLanes * shape_.warps()}, [&](const Val<U32>& i) {
    const In<F32> at = x.At(i);
    for (uint32_t t = 0; t < shape_.m; ++t) {
      const Val<F32> v = at.Load(token_start_[t]);
      squares[t].Fma(v, v);
    }
  });
  const Val<F32> mean = Join(squares, k_.Const<U32>(0), shape_.warps()) / ToF32(cols_);
  return Constant<F32>(mean, 1.0f) / Sqrt(mean + eps);
}

void GemvBlock::ForOwnOutputs(const Pred& exists,
                              absl::FunctionRef<void(const Val<U32>& token)> body) {
  Pred mine = exists && lane_ < shape_.m;
  if (shape_.warps_per_output > 1) mine = mine && part_ == 0;
  k_.If(mine, [&] { body(token_); });
}

}  // namespace ptxsmith
