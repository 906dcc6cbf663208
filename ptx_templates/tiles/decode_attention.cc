// The attention of decode_token. A block takes the query heads of one key head and a part of the
// positions, whose keys and values come through the ring. A warp takes eight positions at a time:
//
//   scores   lane 8 g + t multiplies columns 8 t to 8 t + 7 of each 64 with the keys of positions g
//            and g + 4; the sums over t end in lane t for head t, so each lane has one exponential
//            to do for a position.
//   values   through shared memory every lane learns all weights; it owns head_dim / 32 columns of
//            the result of every head.
//
// Each warp has a running maximum and sum; they are joined at the end, through shared memory, and
// those of several blocks through the exchange, where each block joins some elements.
#include <algorithm>
#include <bit>
#include <cmath>
#include <deque>
#include <vector>

#include "codegen/math.h"
#include "ptx_templates/tiles/decode_kernel.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kPositions = 8;       // of a warp at a time
constexpr uint32_t kKeyLanes = 8;        // that share a key
constexpr uint32_t kKeyElements = 8;     // of each 64 columns, a lane's
constexpr uint32_t kChunkBytes = 8192;   // of keys and values
constexpr uint32_t kJoinedTogether = 8;  // parts of the positions
// Below every score, and finite, so that differences are numbers.
constexpr float kNoScore = -1e30f;

// What shared memory holds, in the place of the images.
struct Scratch {
  explicit Scratch(const DecodeTokenSpec& spec)
      : group(DecodeHeadGroup(spec)),
        heads(std::bit_ceil(group)),
        stride(spec.head_dim + 4),
        queries(spec.warps * group * stride),
        weights(queries + group * spec.head_dim),
        present(weights + spec.warps * (kPositions + 1) * heads),
        floats(present + spec.head_dim) {}

  uint32_t group;
  uint32_t heads;  // `group`, filled up to a power of two
  uint32_t stride;
  // Offsets in floats. First f32 [warps][group][stride]: a warp's results, maximum and sum.
  uint32_t queries;  // f32 [group][head_dim]
  uint32_t weights;  // f32 [warps][kPositions + 1][heads]: the last row corrects earlier results
  uint32_t present;  // f16 [2][head_dim]: key and value of this position
  uint32_t floats;
};

// Values v[h] of each lane, for a power of two of heads: the sum of v[t % heads] over the eight
// lanes with the same lane / 8, in lane t of them.
Val<F32> SumTransposed(std::vector<Val<F32>> v, const Val<U32>& lane) {
  uint32_t mask = static_cast<uint32_t>(v.size()) / 2;
  for (; mask > 0; mask /= 2) {
    const Pred upper = (lane & mask) != 0;
    std::vector<Val<F32>> next;
    for (uint32_t i = 0; i < mask; ++i) {
      const Val<F32> kept = Select<F32>(upper, v[i + mask], v[i]);
      const Val<F32> given = Select<F32>(upper, v[i], v[i + mask]);
      next.push_back(kept + ShuffleXor(given, mask));
    }
    v.swap(next);
    if (mask == 1) break;
  }
  return v[0];
}

// The running results of one warp.
class WarpAttention {
 public:
  WarpAttention(KernelBuilder& k, const DecodeTokenSpec& spec, const InOut<F32>& scratch,
                const Val<U32>& warp, const Val<U32>& lane)
      : k_(k),
        at_(spec),
        dim_(spec.head_dim),
        lane_(lane),
        queries_(scratch.At(at_.queries)),
        weights_(scratch.At(at_.weights).At(warp, (kPositions + 1) * at_.heads * 4)),
        results_(scratch.At(warp, at_.group * at_.stride * 4)),
        max_(&k.recorder(), kNoScore),
        sum_(&k.recorder(), 0.0f) {
    for (uint32_t i = 0; i < at_.group * Columns(); ++i) out_.emplace_back(&k.recorder(), 0.0f);
  }

  // Adds `rows` positions, 1 to kPositions.
  void Add(const InOut<U8>& keys, const InOut<U8>& values, const Val<U32>& rows) {
    const Val<U32> last = rows - 1;
    const Val<U32> g = lane_ / kKeyLanes;
    std::vector<Val<F32>> scores;
    for (const Val<F32>& score : Scores(keys, last)) {
      const uint32_t first = static_cast<uint32_t>(scores.size()) * (kPositions / 2);
      scores.push_back(Select<F32>(g + first < rows, score, kNoScore));
    }
    const Val<F32> own = Max(Val<F32>(max_), Max(scores[0], scores[1]));
    const Val<F32> some = Max(own, ShuffleXor(own, kKeyLanes));
    const Val<F32> largest = Max(some, ShuffleXor(some, 2 * kKeyLanes));
    const Val<F32> factor = Exp(max_ - largest);
    max_ = largest;
    sum_ *= factor;
    const Val<U32> head = lane_ % kKeyLanes;
    k_.If(head < at_.heads, [&] {
      const InOut<F32> own_head = weights_.At(head);
      for (uint32_t i = 0; i < 2; ++i) {
        const Val<F32> weight = Exp(scores[i] - largest);
        sum_ += weight;
        own_head.Store((g + i * (kPositions / 2)) * at_.heads, weight);
      }
      k_.If(g == 0, [&] { own_head.Store(kPositions * at_.heads, factor); });
    });
    k_.WarpBarrier();
    AddValues(values, last);
  }

  // Joins the lanes and stores the warp's results.
  void Store() {
    for (uint32_t mask = kKeyLanes; mask < kWarpLanes; mask *= 2) {
      sum_ += ShuffleXor<F32>(sum_, mask);
    }
    for (uint32_t h = 0; h < at_.group; ++h) {
      const InOut<F32> to = results_.At(h * at_.stride).At(lane_, Columns() * 4);
      for (uint32_t i = 0; i < Columns(); i += 2) {
        to.Store<2>(i, Vec<F32, 2>({out_[h * Columns() + i], out_[h * Columns() + i + 1]}));
      }
    }
    k_.If(lane_ < at_.group, [&] {
      results_.At(lane_, at_.stride * 4).Store(dim_, max_);
      results_.At(lane_, at_.stride * 4).Store(dim_ + 1, sum_);
    });
  }

 private:
  uint32_t Columns() const { return dim_ / kWarpLanes; }  // of the result, a lane's

  // Of positions g and g + 4 with head t.
  std::vector<Val<F32>> Scores(const InOut<U8>& keys, const Val<U32>& last) {
    const Val<U32> column = lane_ % kKeyLanes * kKeyElements;
    const uint32_t parts = dim_ / (kKeyLanes * kKeyElements);
    const auto elements = [](const Vec<U32, 4>& words) {
      const auto pairs = std::array{UnpackHalf2(words[0]), UnpackHalf2(words[1]),
                                    UnpackHalf2(words[2]), UnpackHalf2(words[3])};
      return MakeVec<kKeyElements>([&](size_t i) { return pairs[i / 2][i % 2]; });
    };
    std::vector<Vec<F32, kKeyElements>> key[2];
    for (uint32_t i = 0; i < 2; ++i) {
      const Val<U32> row = Min(lane_ / kKeyLanes + i * (kPositions / 2), last);
      const InOut<U32> words = keys.At(row, dim_ * 2).At(column, 2).As<U32>();
      for (uint32_t c = 0; c < parts; ++c) key[i].push_back(elements(words.Load<4>(32 * c)));
    }
    std::vector<Val<F32>> shares[2];
    for (uint32_t h = 0; h < at_.heads; ++h) {
      if (h >= at_.group) {
        for (auto& share : shares) share.push_back(k_.Const<F32>(0.0f));
        continue;
      }
      const InOut<F32> query = queries_.At(h * dim_).At(column);
      std::deque<Var<F32>> sums;
      for (uint32_t c = 0; c < parts; ++c) {
        const Vec<F32, 4> low = query.Load<4>(64 * c);
        const Vec<F32, 4> high = query.Load<4>(64 * c + 4);
        for (uint32_t i = 0; i < 2; ++i) {
          for (uint32_t e = 0; e < kKeyElements; ++e) {
            const Val<F32>& q = e < 4 ? low[e] : high[e - 4];
            if (c == 0 && e == 0) {
              sums.emplace_back(&k_.recorder(), q * key[i][0][0]);
            } else {
              sums[i].Fma(q, key[i][c][e]);
            }
          }
        }
      }
      for (uint32_t i = 0; i < 2; ++i) shares[i].push_back(sums[i]);
    }
    std::vector<Val<F32>> scores;
    for (const auto& share : shares) {
      std::vector<Val<F32>> level = {SumTransposed(share, lane_)};
      for (uint32_t mask = at_.heads; mask < kKeyLanes; mask *= 2) {
        level.push_back(level.back() + ShuffleXor(level.back(), mask));
      }
      scores.push_back(level.back());
    }
    return scores;
  }

  void AddValues(const InOut<U8>& values, const Val<U32>& last) {
    const std::vector<Val<F32>> factors = OfHeads(kPositions);
    for (uint32_t i = 0; i < out_.size(); ++i) out_[i] *= factors[i / Columns()];
    for (uint32_t r = 0; r < kPositions; ++r) {
      const InOut<U32> words =
          values.At(Min(k_.Const<U32>(r), last), dim_ * 2).At(lane_, Columns() * 2).As<U32>();
      std::vector<Val<F32>> row;
      for (uint32_t i = 0; i < Columns() / 2; ++i) {
        for (const Val<F32>& element : UnpackHalf2(words.Load(i))) row.push_back(element);
      }
      const std::vector<Val<F32>> weights = OfHeads(r);
      for (uint32_t i = 0; i < out_.size(); ++i) {
        out_[i].Fma(weights[i / Columns()], row[i % Columns()]);
      }
    }
  }

  // A row of the weights: one number for each head, the same in all lanes.
  std::vector<Val<F32>> OfHeads(uint32_t row) {
    std::vector<Val<F32>> numbers;
    const auto append = [&](const auto& loaded) {
      for (const Val<F32>& number : loaded) numbers.push_back(number);
    };
    const InOut<F32> from = weights_.At(row * at_.heads);
    switch (at_.heads) {
      case 1:
        numbers.push_back(from.Load(0));
        break;
      case 2:
        append(from.Load<2>(0));
        break;
      default:
        for (uint32_t h = 0; h < at_.heads; h += 4) append(from.Load<4>(h));
    }
    return numbers;
  }

  KernelBuilder& k_;
  const Scratch at_;
  const uint32_t dim_;
  const Val<U32> lane_;
  const InOut<F32> queries_, weights_, results_;
  Var<F32> max_, sum_;  // of head t
  std::deque<Var<F32>> out_;
};

}  // namespace

uint32_t DecodeKernel::AttentionBytes() const { return Scratch(spec_).floats * 4; }

TileRing::RowPairs DecodeKernel::CacheRows() const {
  const uint32_t bytes = spec_.head_dim * 2;
  return {bytes, kChunkBytes / (2 * bytes)};
}

In<U8> DecodeKernel::CachedKeys(const Val<U32>& layer) const {
  const uint32_t row = spec_.head_dim * 2;
  const Val<U32> kv_head = head_group_ * DecodeHeadGroup(spec_) / (spec_.heads / spec_.kv_heads);
  return In<U8>(params_.kv.At(layer * 2, static_cast<uint32_t>(DecodeKvPartBytes(spec_)))
                    .At(kv_head * spec_.context + first_cached_, row)
                    .address());
}

void DecodeKernel::Attend(const Val<U32>& layer) {
  const Scratch at(spec_);
  const uint32_t dim = spec_.head_dim;
  const InOut<U32> region = Region(layer);
  const InOut<F32> scratch = product_.images().As<F32>();
  const InOut<U8> present = scratch.At(at.present).As<U8>();
  k_.If(part_ < parts_, [&] {
    // Queries and, for the first part, the new key and value; by all threads, four elements each.
    const uint32_t query_quads = at.group * dim / 4;
    const uint32_t quads = query_quads + dim / 2;
    const Val<U32> first_head = head_group_ * at.group;
    const Val<U32> kv_head = first_head / (spec_.heads / spec_.kv_heads);
    const InOut<U32> qkv = region.At(at_.qkv);
    const InOut<U32> query = qkv.At(first_head, dim * 4);
    const InOut<U32> key = qkv.At(q_rows()).At(kv_head, dim * 4);
    std::deque<Polled<4>> polled;
    for (uint32_t from = 0; from < quads; from += threads()) {
      const Val<U32> quad = thread_ + from;
      const Val<U32> in_key = quad - query_quads;
      const Val<U32> in_part =
          Select<U32>(in_key >= dim / 4, in_key + (kv_rows() - dim) / 4, in_key);
      polled.emplace_back(k_, Select(quad < query_quads, query.At(quad, 16), key.At(in_part, 16)),
                          quad < query_quads || (part_ == 0 && quad < quads));
    }
    WaitForEach(k_, polled);
    const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
    for (uint32_t i = 0; i < polled.size(); ++i) {
      const Val<U32> quad = thread_ + i * threads();
      const Vec<F32, 4> x = polled[i].floats();
      k_.If(
          quad < query_quads,
          [&] {
            scratch.At(at.queries).At(quad, 16).Store<4>(0, MakeVec<4>([&](size_t j) {
                                                           return x[j] * scale;
                                                         }));
          },
          [&] {
            k_.If(quad < quads, [&] {
              present.At(quad - query_quads, 8)
                  .As<U32>()
                  .Store<2>(0, Vec<U32, 2>({PackHalf2(x[0], x[1]), PackHalf2(x[2], x[3])}));
            });
          });
    }
    k_.NamedBarrier(kCompute, threads());

    // Eight positions at a time; the present one, which is not in the ring, comes last.
    WarpAttention attention(k_, spec_, scratch, warp_, lane_);
    const TileRing::RowPairs rows = CacheRows();
    const uint32_t per_chunk = rows.per_chunk / kPositions;
    const Val<U32> units = (cached_ + (kPositions - 1)) / kPositions;
    const Val<U32> all = units + Select<U32>(part_ == 0, 1, 0);
    k_.For(warp_, all, {.step = spec_.warps}, [&](const Val<U32>& u) {
      const Pred cached = u < units;
      const Val<U32> chunk = u / per_chunk;
      const Val<U32> place = u % per_chunk;
      const InOut<U8> keys = ring_.SlotOf(chunk).At(place, kPositions * rows.bytes);
      k_.If(cached, [&] { ring_.WaitFor(chunk); });
      attention.Add(Select(cached, keys, present),
                    Select(cached, keys.At(rows.per_chunk * rows.bytes), present.At(rows.bytes)),
                    Select<U32>(cached, Min(cached_ - u * kPositions, kPositions), 1));
      k_.If(cached, [&] {
        ring_.Free(chunk, Select<U32>(u + 1 == units, per_chunk - place, 1), per_chunk, lane_);
      });
    });
    ring_.Advance((units + (per_chunk - 1)) / per_chunk);
    attention.Store();
    k_.NamedBarrier(kCompute, threads());

    // One thread for each element of each head; lane w of its warp looks after the sums of warp w.
    k_.For(warp_, at.group * dim / kWarpLanes, {.step = spec_.warps}, [&](const Val<U32>& w32) {
      const Val<U32> head = w32 / (dim / kWarpLanes);
      const Val<U32> element = w32 % (dim / kWarpLanes) * kWarpLanes + lane_;
      const InOut<F32> own =
          scratch.At(Min(lane_, spec_.warps - 1) * at.group + head, at.stride * 4);
      const Pred has = lane_ < spec_.warps;
      const Val<F32> warp_max = Select<F32>(has, own.Load(dim), kNoScore);
      const Val<F32> max = WarpMax(warp_max);
      const Val<F32> factor = Select<F32>(has, Exp(warp_max - max), 0.0f);
      const Val<F32> sum = WarpSum(factor * own.Load(dim + 1));
      Var<F32> out = k_.NewVar<F32>(0.0f);
      for (uint32_t w = 0; w < spec_.warps; ++w) {
        out.Fma(Broadcast(factor, w),
                scratch.At(head, at.stride * 4).At(element).Load(w * at.group * at.stride));
      }
      k_.If(
          parts_ == 1,
          [&] {
            PublishHalf(region.At(at_.attended), (first_head + head) * dim + element,
                        Val<F32>(out) / sum, k_.True());
          },
          [&] {
            const InOut<U32> to = Partial(layer, part_, w32);
            Publish(to, lane_, Bitcast<U32>(Val<F32>(out)));
            k_.If(lane_ == 0, [&] {
              Publish(to, kWarpLanes, Bitcast<U32>(max));
              Publish(to, kWarpLanes + 1, Bitcast<U32>(sum));
            });
          });
    });
    k_.If(parts_ != 1, [&] { JoinParts(layer); });
    k_.NamedBarrier(kCompute, threads());  // the scratch is the images' again
  });
}

// The elements of this head group are dealt out to the blocks, 32 at a time.
void DecodeKernel::JoinParts(const Val<U32>& layer) {
  const uint32_t units = DecodeHeadGroup(spec_) * spec_.head_dim / kWarpLanes;
  const uint32_t together = std::min(at_.max_splits, kJoinedTogether);
  k_.For(warp_, units, {.step = spec_.warps}, [&](const Val<U32>& turn) {
    const Val<U32> unit = turn * parts_ + part_;
    k_.If(unit < units, [&] {
      Var<F32> max = k_.NewVar<F32>(kNoScore);
      Var<F32> sum = k_.NewVar<F32>(0.0f);
      Var<F32> out = k_.NewVar<F32>(0.0f);
      k_.For(0, parts_, {.step = together}, [&](const Val<U32>& first) {
        std::deque<Polled<1>> elements;
        std::deque<Polled<2>> states;
        for (uint32_t i = 0; i < together; ++i) {
          const InOut<U32> partial = Partial(layer, first + i, unit);
          elements.emplace_back(k_, partial.At(lane_), first + i < parts_);
          states.emplace_back(k_, partial.At(kWarpLanes), first + i < parts_);
        }
        WaitForEach(k_, elements, states);
        for (uint32_t i = 0; i < together; ++i) {
          const Pred valid = first + i < parts_;
          const Vec<F32, 2> state = states[i].floats();
          const Val<F32> other_max = Select<F32>(valid, state[0], kNoScore);
          const Val<F32> joint = Max(Val<F32>(max), other_max);
          const Val<F32> mine = Exp(max - joint);
          const Val<F32> theirs = Select<F32>(valid, Exp(other_max - joint), 0.0f);
          max = joint;
          sum = Fma(sum, mine, theirs * state[1]);
          out = Fma(out, mine, theirs * elements[i].floats()[0]);
          // Nobody else reads them: wiped for the next launch.
          k_.If(valid, [&] {
            const InOut<U32> partial = Partial(layer, first + i, unit);
            Publish(partial, lane_, kUnwritten);
            k_.If(lane_ < 2, [&] { Publish(partial, kWarpLanes + lane_, kUnwritten); });
          });
        }
      });
      PublishHalf(Region(layer).At(at_.attended), (head_group_ * units + unit) * kWarpLanes + lane_,
                  Val<F32>(out) / sum, k_.True());
    });
  });
}

}  // namespace ptxsmith
