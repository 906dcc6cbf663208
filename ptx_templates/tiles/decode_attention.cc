// The attention of decode_token. A block takes `group` query heads of one key head and a part of
// the positions; its warps go through these side by side, each with a running maximum and sum, and
// are joined at the end, through shared memory.
#include <algorithm>
#include <cmath>
#include <deque>
#include <optional>
#include <vector>

#include "codegen/math.h"
#include "ptx_templates/tiles/decode_kernel.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kLaneElements = 8;    // of a head, 16 bytes of the cache
constexpr uint32_t kJoinedTogether = 8;  // parts of the positions
// Below every score, and finite, so that differences are numbers.
constexpr float kNoScore = -1e30f;

// The sums of one query head over the positions a lane has seen.
struct HeadState {
  HeadState(KernelBuilder& k, const Val<F32>& first_max, const Val<F32>& first_sum)
      : max(&k.recorder(), first_max), sum(&k.recorder(), first_sum) {}

  // Puts the sums under a new maximum; returns what they were multiplied by.
  Val<F32> Rescale(const Val<F32>& new_max) {
    const Val<F32> factor = Exp(max - new_max);
    max = new_max;
    sum *= factor;
    for (Var<F32>& element : out) element *= factor;
    return factor;
  }

  Var<F32> max, sum;
  std::deque<Var<F32>> out;
};

using Elements = Vec<F32, kLaneElements>;

Elements FromHalves(const Vec<U32, 4>& words) {
  const auto pairs = std::array{UnpackHalf2(words[0]), UnpackHalf2(words[1]), UnpackHalf2(words[2]),
                                UnpackHalf2(words[3])};
  return MakeVec<kLaneElements>([&](size_t i) { return pairs[i / 2][i % 2]; });
}

// Sum over the neighbouring `lanes` lanes, in all of them.
Val<F32> SumOver(const Val<F32>& value, uint32_t lanes) {
  const Val<F32> joined = value + ShuffleXor(value, lanes / 2);
  return lanes == 2 ? joined : SumOver(joined, lanes / 2);
}

class Attention {
 public:
  Attention(KernelBuilder& k, const DecodeTokenSpec& spec, const Val<U32>& warp,
            const Val<U32>& lane, const Val<U32>& first_head)
      : k_(k),
        spec_(spec),
        lanes_(spec.head_dim / kLaneElements),
        warp_(warp),
        lane_(lane),
        first_head_(first_head),
        element_(lane % lanes_ * kLaneElements),
        place_(lane / lanes_),
        ahead_(spec.group <= 2 ? 4 : 2) {}

  // Positions that a lane loads at a time: what registers hold beside the sums of the heads.
  uint32_t ahead() const { return ahead_; }
  // Positions that a warp goes through at a time.
  uint32_t places() const { return kWarpLanes / lanes_; }

  // Keys and values of ahead() positions from `first` on, every `stride`-th; those from `end` on
  // are zero and count nothing.
  struct Ahead {
    std::deque<Var<U32>> keys, values;
    std::vector<Pred> valid;
  };
  void Load(Ahead& ahead, const InOut<U8>& keys, const InOut<U8>& values, const Val<U32>& first,
            uint32_t stride, const Val<U32>& end) {
    for (uint32_t u = 0; u < ahead_; ++u) {
      const Val<U32> position = first + u * stride + place_;
      const Pred valid = position < end;
      for (uint32_t i = 0; i < 4; ++i) {
        ahead.keys.emplace_back(&k_.recorder(), 0);
        ahead.values.emplace_back(&k_.recorder(), 0);
      }
      ahead.valid.push_back(valid);
      k_.If(valid, [&] {
        const auto load = [&](const InOut<U8>& part, std::deque<Var<U32>>& into) {
          const Vec<U32, 4> words =
              part.At(position, spec_.head_dim * 2).At(element_, 2).As<U32>().Load<4>(0);
          for (uint32_t i = 0; i < 4; ++i) into[4 * u + i] = words[i];
        };
        load(keys, ahead.keys);
        load(values, ahead.values);
      });
    }
  }

  // The query heads, when they have come; scaled, so that a product with a key is a score. With
  // `present` also the key and the value of this position, which counts in the lanes of `here`:
  // one warp looks after it.
  void Start(const InOut<U32>& qkv, const InOut<U32>& key, const InOut<U32>& value,
             const Pred& present, const Pred& here) {
    std::deque<Polled<4>> words;
    const auto add = [&](const InOut<U32>& head) {
      words.emplace_back(k_, head.At(element_));
      words.emplace_back(k_, head.At(element_).At(4));
    };
    for (uint32_t h = 0; h < spec_.group; ++h) add(qkv.At((first_head_ + h) * spec_.head_dim));
    // Other warps poll a query twice more instead: it is there when the query is.
    const InOut<U32> query = qkv.At(first_head_ * spec_.head_dim);
    add(Select(present, key, query));
    add(Select(present, value, query));
    WaitForEach(k_, words);
    const auto elements = [&](size_t index, float scale) {
      const Vec<F32, 4> a = words[2 * index].floats();
      const Vec<F32, 4> b = words[2 * index + 1].floats();
      return MakeVec<kLaneElements>([&](size_t i) {
        const Val<F32>& x = i < 4 ? a[i] : b[i - 4];
        return scale == 1.0f ? x : x * scale;
      });
    };
    const float scale = 1.0f / std::sqrt(static_cast<float>(spec_.head_dim));
    const Elements new_key = elements(spec_.group, 1.0f);
    const Elements new_value = elements(spec_.group + 1, 1.0f);
    for (uint32_t h = 0; h < spec_.group; ++h) {
      queries_.push_back(elements(h, scale));
      const Val<F32> score = Score(queries_[h], new_key);
      const Val<F32> one = Constant<F32>(score, 1.0f);
      HeadState& state = states_.emplace_back(k_, Select<F32>(here, score, kNoScore),
                                              Select<F32>(here, one, 0.0f));
      for (const Val<F32>& v : new_value) {
        state.out.emplace_back(&k_.recorder(), Select<F32>(here, v, 0.0f));
      }
    }
  }

  void Add(const Ahead& ahead) {
    const auto elements = [&](const std::deque<Var<U32>>& words, uint32_t u) {
      return FromHalves(MakeVec<4>([&](size_t i) -> Val<U32> { return words[4 * u + i]; }));
    };
    for (uint32_t h = 0; h < spec_.group; ++h) {
      HeadState& state = states_[h];
      std::vector<Val<F32>> scores;
      Var<F32> largest = k_.NewVar<F32>(state.max);
      for (uint32_t u = 0; u < ahead_; ++u) {
        const Val<F32> score = Score(queries_[h], elements(ahead.keys, u));
        scores.push_back(Select<F32>(ahead.valid[u], score, kNoScore));
        largest = Max(Val<F32>(largest), scores[u]);
      }
      state.Rescale(largest);
      for (uint32_t u = 0; u < ahead_; ++u) {
        const Val<F32> weight = Select<F32>(ahead.valid[u], Exp(scores[u] - state.max), 0.0f);
        state.sum += weight;
        const Elements value = elements(ahead.values, u);
        for (uint32_t i = 0; i < kLaneElements; ++i) state.out[i].Fma(weight, value[i]);
      }
    }
  }

  // Joins the places of the warp and stores its sums: head_dim elements, maximum, sum.
  void StoreWarp(const InOut<F32>& scratch) {
    for (uint32_t h = 0; h < spec_.group; ++h) {
      HeadState& state = states_[h];
      for (uint32_t mask = lanes_; mask < kWarpLanes; mask *= 2) {
        const Val<F32> other_max = ShuffleXor<F32>(state.max, mask);
        const Val<F32> joint = Max(Val<F32>(state.max), other_max);
        // The sender scales, so that one exponential does: both sides do the same.
        state.Rescale(joint);
        state.sum += ShuffleXor<F32>(state.sum, mask);
        for (Var<F32>& element : state.out) element += ShuffleXor<F32>(element, mask);
      }
      const InOut<F32> own = scratch.At((warp_ * spec_.group + h) * (spec_.head_dim + 4));
      k_.If(lane_ < lanes_, [&] {
        for (uint32_t i = 0; i < kLaneElements; i += 4) {
          own.At(element_).Store<4>(
              i, MakeVec<4>([&](size_t j) -> Val<F32> { return state.out[i + j]; }));
        }
      });
      k_.If(lane_ == 0, [&] {
        own.Store(spec_.head_dim, state.max);
        own.Store(spec_.head_dim + 1, state.sum);
      });
    }
  }

 private:
  Val<F32> Score(const Elements& query, const Elements& key) {
    Var<F32> sum = k_.NewVar<F32>(query[0] * key[0]);
    for (uint32_t i = 1; i < kLaneElements; ++i) sum.Fma(query[i], key[i]);
    return SumOver(sum, lanes_);
  }

  KernelBuilder& k_;
  const DecodeTokenSpec& spec_;
  const uint32_t lanes_;  // that share a head at one position
  const Val<U32> warp_, lane_, first_head_;
  const Val<U32> element_;  // the first of the lane's elements
  const Val<U32> place_;    // which of the warp's positions is the lane's
  const uint32_t ahead_;
  std::vector<Elements> queries_;
  std::deque<HeadState> states_;
};

}  // namespace

void DecodeKernel::Attend(const Val<U32>& layer) {
  const uint32_t groups = spec_.heads / spec_.group;
  const uint32_t dim = spec_.head_dim;
  // The positions before this one, in equal parts; the first part also has this one.
  const Val<U32> splits = Min(position_ / spec_.split + 1, at_.max_splits);
  const Val<U32> part = cta_ / groups;
  const InOut<U32> region = Region(layer);
  k_.If(part < splits, [&] {
    const Val<U32> per_part = position_ / splits + 1;
    const Val<U32> begin = part * per_part;
    const Val<U32> end = Min(begin + per_part, position_);
    const Val<U32> first_head = cta_ % groups * spec_.group;
    const Val<U32> kv_head = first_head / (spec_.heads / spec_.kv_heads);
    Attention attention(k_, spec_, warp_, lane_, first_head);

    const uint32_t part_bytes = static_cast<uint32_t>(DecodeKvPartBytes(spec_));
    const InOut<U8> keys =
        params_.kv.At(layer, 2 * part_bytes).At(kv_head * spec_.context, dim * 2);
    const InOut<U8> values = keys.At(part_bytes);
    const uint32_t stride = spec_.warps * attention.places();
    const Val<U32> start = begin + warp_ * attention.places();
    // The first positions are loaded while the query is on its way.
    Attention::Ahead ahead;
    attention.Load(ahead, keys, values, start, stride, end);

    const InOut<U32> qkv = region.At(at_.qkv);
    const InOut<U32> new_key = qkv.At(q_rows() + kv_head * dim);
    const Pred present = part == 0 && warp_ == 0;
    attention.Start(qkv, new_key, new_key.At(kv_rows()), present,
                    present && lane_ < dim / kLaneElements);
    attention.Add(ahead);
    const uint32_t step = attention.ahead() * stride;
    k_.For(start + step, end, {.step = step}, [&](const Val<U32>& first) {
      Attention::Ahead next;
      attention.Load(next, keys, values, first, stride, end);
      attention.Add(next);
    });

    const InOut<F32> scratch = product_.images().As<F32>();
    attention.StoreWarp(scratch);
    k_.NamedBarrier(kCompute, threads());

    // One thread for each element of each head; lane w of its warp looks after the sums of warp w.
    k_.For(warp_, spec_.group * dim / kWarpLanes, {.step = spec_.warps}, [&](const Val<U32>& w32) {
      const Val<U32> head = w32 / (dim / kWarpLanes);
      const Val<U32> element = w32 % (dim / kWarpLanes) * kWarpLanes + lane_;
      const Val<U32> from = Min(lane_, spec_.warps - 1) * spec_.group + head;
      const InOut<F32> own = scratch.At(from * (dim + 4));
      const Pred has = lane_ < spec_.warps;
      const Val<F32> warp_max = Select<F32>(has, own.Load(dim), kNoScore);
      const Val<F32> max = WarpMax(warp_max);
      const Val<F32> factor = Select<F32>(has, Exp(warp_max - max), 0.0f);
      const Val<F32> sum = WarpSum(factor * own.Load(dim + 1));
      Var<F32> out = k_.NewVar<F32>(0.0f);
      for (uint32_t w = 0; w < spec_.warps; ++w) {
        out.Fma(Broadcast(factor, w),
                scratch.At(head * (dim + 4) + element).Load(w * spec_.group * (dim + 4)));
      }

      const Val<U32> query_head = first_head + head;
      const auto partial_of = [&](const Val<U32>& p) {
        return region.At(at_.partials).At(((p - 1) * spec_.heads + query_head), (dim + 4) * 4);
      };
      k_.If(
          part != 0,
          [&] {
            const InOut<U32> to = partial_of(part);
            Publish(to, element, Bitcast<U32>(Val<F32>(out)));
            k_.If(element == 0, [&] {
              Publish(to, dim, Bitcast<U32>(max));
              Publish(to, dim + 1, Bitcast<U32>(sum));
            });
          },
          [&] {
            Var<F32> joint_max = k_.NewVar<F32>(max);
            Var<F32> joint_sum = k_.NewVar<F32>(sum);
            // Several at a time, as each costs a trip to L2.
            const uint32_t together = std::clamp(at_.max_splits - 1, 1u, kJoinedTogether);
            k_.For(1, splits, {.step = together}, [&](const Val<U32>& first) {
              std::deque<Polled<1>> others;
              std::deque<Polled<2>> states;
              for (uint32_t i = 0; i < together; ++i) {
                const InOut<U32> partial = partial_of(Min(first + i, splits - 1));
                others.emplace_back(k_, partial.At(element));
                states.emplace_back(k_, partial.At(dim));
              }
              WaitForEach(k_, others, states);
              for (uint32_t i = 0; i < together; ++i) {
                const Vec<F32, 2> state = states[i].floats();
                const Pred valid = first + i < splits;
                const Val<F32> other_max = Select<F32>(valid, state[0], kNoScore);
                const Val<F32> joint = Max(Val<F32>(joint_max), other_max);
                const Val<F32> mine = Exp(joint_max - joint);
                const Val<F32> theirs = Select<F32>(valid, Exp(other_max - joint), 0.0f);
                joint_max = joint;
                joint_sum = Fma(joint_sum, mine, theirs * state[1]);
                out = Fma(out, mine, theirs * others[i].floats()[0]);
              }
            });
            PublishHalf(region.At(at_.attended), query_head * dim + element,
                        Val<F32>(out) / joint_sum, k_.True());
          });
    });
    k_.NamedBarrier(kCompute, threads());  // the scratch is the images' again
  });
}

}  // namespace ptxsmith
