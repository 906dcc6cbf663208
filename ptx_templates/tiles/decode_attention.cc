// The attention of decode_token. A block takes the query heads of one key head and a part of the
// positions, whose keys and values come through the ring. A warp takes sixteen positions at a time:
//
//   scores   on tensor cores: rows are positions, columns are heads. Queries are two terms of f16,
//            22 bits; keys are f16 as they are.
//   values   through shared memory every lane learns all weights; it owns head_dim / 32 columns of
//            the result of every head, in f32.
//
// Each warp has a running maximum and sum. The warps are joined through shared memory and the parts
// of the positions through the exchange, where each block joins some heads.
//
// It is written for few instructions, in loops: code that runs once in a layer comes out of the
// instruction cache at one instruction in two clocks, whatever the warps.
#include <algorithm>
#include <bit>
#include <cmath>
#include <deque>
#include <vector>

#include "codegen/math.h"
#include "codegen/mma.h"
#include "ptx_templates/tiles/decode_kernel.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kPositions = kAttentionPositions;
constexpr uint32_t kLaneKey = 8;        // of each 32 columns of a key, a lane's
constexpr uint32_t kChunkBytes = 8192;  // of keys and values
constexpr uint32_t kRowsTogether = 4;   // of the values
// Below every score, and finite, so that differences are numbers.
constexpr float kNoScore = -1e30f;

// What shared memory holds, in the place of the images. Offsets in bytes.
struct Scratch {
  explicit Scratch(const DecodeTokenSpec& spec)
      : group(DecodeHeadGroup(spec)),
        heads(std::max(std::bit_ceil(group), 4u)),
        result(spec.head_dim + 4),
        query(spec.head_dim * 2 + 64),
        queries(spec.warps * group * result * 4),
        weights(queries + 2 * group * query),
        present(weights + spec.warps * (kPositions + 1) * heads * 4),
        bytes(present + 2 * spec.head_dim * 2) {}

  uint32_t group;
  uint32_t heads;    // columns: `group`, filled up to four or eight
  uint32_t result;   // floats: of a head, maximum, sum, padding; first f32 [warps][group][result]
  uint32_t query;    // bytes from a query to the next: 64 more than needed, for the banks' sake
  uint32_t queries;  // f16 [2][group]: both terms
  uint32_t weights;  // f32 [warps][kPositions + 1][heads]: the last row corrects earlier results
  uint32_t present;  // f16 [2][head_dim]: key and value of this position
  uint32_t bytes;
};

// How a block's share of the cache goes through the ring.
struct CachePlan {
  explicit CachePlan(const DecodeTokenSpec& spec)
      : row_bytes(spec.head_dim * 2),
        chunk_rows(kChunkBytes / (2 * row_bytes)),
        chunk_units(chunk_rows / kPositions) {
    // Chunks that a warp waits for one after the other are so far apart; see tile_ring.h.
    const uint32_t apart = (spec.warps + chunk_units - 1) / chunk_units;
    if (apart + spec.in_flight <= spec.slots) {
      warps = spec.warps;
      in_flight = std::min(spec.slots - apart, kInFlight);
    } else if (chunk_units == 1 && spec.warps >= spec.slots) {
      warps = spec.slots;
      in_flight = std::min(spec.slots - 1, kInFlight);
    } else {
      warps = (spec.slots - spec.in_flight) * chunk_units;
      in_flight = spec.in_flight;
    }
  }

  // With 4 chunks in flight the 131 KB of a block, of 4096 positions (8B), took 6.5 us.
  static constexpr uint32_t kInFlight = 8;

  uint32_t row_bytes, chunk_rows;
  uint32_t chunk_units;  // of kPositions
  uint32_t warps;        // that take units
  uint32_t in_flight;
};

// The running results of one warp. In scores, lane 4 g + t has positions g and g + 8 of heads 2 t
// and 2 t + 1.
class WarpAttention {
 public:
  WarpAttention(KernelBuilder& k, const DecodeTokenSpec& spec, const InOut<U8>& scratch,
                const Val<U32>& warp, const Val<U32>& lane)
      : k_(k),
        at_(spec),
        dim_(spec.head_dim),
        lane_(lane),
        weights_(scratch.At(at_.weights).At(warp, (kPositions + 1) * at_.heads * 4).As<F32>()),
        results_(scratch.At(warp, at_.group * at_.result * 4).As<F32>()) {
    for (uint32_t i = 0; i < 2; ++i) {
      max_.emplace_back(&k.recorder(), kNoScore);
      sum_.emplace_back(&k.recorder(), 0.0f);
    }
    for (uint32_t i = 0; i < at_.group * Columns(); ++i) out_.emplace_back(&k.recorder(), 0.0f);
    // The columns of a query as the lanes have those of keys.
    const InOut<U8> query = scratch.At(at_.queries)
                                .At(Min(lane / 4, at_.group - 1), at_.query)
                                .At(lane % 4, kLaneKey * 2);
    for (uint32_t term = 0; term < 2; ++term) {
      for (uint32_t c = 0; c < KeyLoads(); ++c) {
        queries_[term].push_back(
            query.At(term * at_.group * at_.query + 64 * c).As<U32>().Load<4>(0));
      }
    }
  }

  // Adds `rows` positions, 1 to kPositions.
  void Add(const InOut<U8>& keys, const InOut<U8>& values, const Val<U32>& rows) {
    const Val<U32> last = rows - 1;
    const Val<U32> g = lane_ / 4;
    const std::vector<Val<F32>> raw = Scores(keys, last);
    const auto scores = MakeVec<4>([&](size_t i) {
      const Val<U32> row = i < 2 ? g : g + 8;
      return Select<F32>(row < rows, raw[i], kNoScore);
    });
    std::deque<Var<F32>> weights;
    std::vector<Val<F32>> factors;
    for (uint32_t i = 0; i < 2; ++i) {
      Var<F32> largest = k_.NewVar<F32>(Max(Val<F32>(max_[i]), Max(scores[i], scores[i + 2])));
      for (uint32_t mask = 4; mask < kWarpLanes; mask *= 2) {
        largest = Max(Val<F32>(largest), ShuffleXor<F32>(largest, mask));
      }
      factors.push_back(Exp(max_[i] - largest));
      max_[i] = Val<F32>(largest);
      sum_[i] *= factors[i];
    }
    for (uint32_t i = 0; i < 4; ++i) {
      weights.emplace_back(&k_.recorder(), Exp(scores[i] - max_[i % 2]));
      sum_[i % 2] += weights[i];
    }
    const Val<U32> head = lane_ % 4 * 2;
    k_.If(head < at_.heads, [&] {
      const InOut<F32> own = weights_.At(head);
      own.At(g, at_.heads * 4).Store<2>(0, Vec<F32, 2>({weights[0], weights[1]}));
      own.At(g + 8, at_.heads * 4).Store<2>(0, Vec<F32, 2>({weights[2], weights[3]}));
      k_.If(g == 0, [&] {
        own.At(kPositions, at_.heads * 4).Store<2>(0, Vec<F32, 2>({factors[0], factors[1]}));
      });
    });
    k_.WarpBarrier();
    AddValues(values, rows);
  }

  // Joins the lanes and stores the warp's results.
  void Store() {
    for (Var<F32>& sum : sum_) {
      for (uint32_t mask = 4; mask < kWarpLanes; mask *= 2) sum += ShuffleXor<F32>(sum, mask);
    }
    for (uint32_t h = 0; h < at_.group; ++h) {
      const InOut<F32> to = results_.At(h * at_.result).At(lane_, Columns() * 4);
      for (uint32_t i = 0; i < Columns(); i += 2) {
        to.Store<2>(i, Vec<F32, 2>({out_[h * Columns() + i], out_[h * Columns() + i + 1]}));
      }
    }
    for (uint32_t i = 0; i < 2; ++i) {
      const Val<U32> head = lane_ * 2 + i;
      k_.If(head < at_.group, [&] {
        results_.At(head, at_.result * 4).At(dim_).Store<2>(0, Vec<F32, 2>({max_[i], sum_[i]}));
      });
    }
  }

 private:
  uint32_t Columns() const { return dim_ / kWarpLanes; }  // of the result, a lane's
  uint32_t KeyLoads() const { return dim_ / (4 * kLaneKey); }

  // Rows beyond `last` are like it.
  std::vector<Val<F32>> Scores(const InOut<U8>& keys, const Val<U32>& last) {
    const InOut<U8> column = keys.At(lane_ % 4, kLaneKey * 2);
    const InOut<U8> low = column.At(Min(lane_ / 4, last), dim_ * 2);
    const InOut<U8> high = column.At(Min(lane_ / 4 + 8, last), dim_ * 2);
    MmaTile sums[2] = {MmaTile(k_), MmaTile(k_)};  // one for each term
    for (uint32_t c = 0; c < KeyLoads(); ++c) {
      const Vec<U32, 4> a = low.As<U32>().Load<4>(16 * c);
      const Vec<U32, 4> b = high.As<U32>().Load<4>(16 * c);
      // Which columns count as which is open, as long as queries and keys agree.
      for (uint32_t half = 0; half < 4; half += 2) {
        for (uint32_t term = 0; term < 2; ++term) {
          const Vec<U32, 4>& q = queries_[term][c];
          sums[term].MultiplyAdd16(Vec<U32, 4>({a[half], b[half], a[half + 1], b[half + 1]}),
                                   Vec<U32, 2>({q[half], q[half + 1]}));
        }
      }
    }
    std::vector<Val<F32>> scores;
    for (uint32_t i = 0; i < 4; ++i) {
      scores.push_back(sums[0].Element(i) + sums[1].Element(i));
    }
    return scores;
  }

  void AddValues(const InOut<U8>& values, const Val<U32>& rows) {
    const std::vector<Val<F32>> factors = OfHeads(weights_.At(kPositions * at_.heads));
    for (uint32_t i = 0; i < out_.size(); ++i) out_[i] *= factors[i / Columns()];
    const InOut<U8> column = values.At(lane_, Columns() * 2);
    // The weights of rows beyond the last are zero.
    k_.For(0, rows, {.step = kRowsTogether}, [&](const Val<U32>& first) {
      for (uint32_t r = 0; r < kRowsTogether; ++r) {
        const InOut<U32> words = column.At(Min(first + r, rows - 1), dim_ * 2).As<U32>();
        std::vector<Val<F32>> row;
        const auto append = [&](const Val<U32>& word) {
          for (const Val<F32>& element : UnpackHalf2(word)) row.push_back(element);
        };
        if (Columns() == 4) {
          for (const Val<U32>& word : words.Load<2>(0)) append(word);
        } else {
          append(words.Load(0));
        }
        const std::vector<Val<F32>> weights = OfHeads(weights_.At(first + r, at_.heads * 4));
        for (uint32_t i = 0; i < out_.size(); ++i) {
          out_[i].Fma(weights[i / Columns()], row[i % Columns()]);
        }
      }
    });
  }

  // A row of the weights: one number for each head, the same in all lanes.
  std::vector<Val<F32>> OfHeads(const InOut<F32>& from) {
    std::vector<Val<F32>> numbers;
    for (uint32_t h = 0; h < at_.heads; h += 4) {
      for (const Val<F32>& number : from.Load<4>(h)) numbers.push_back(number);
    }
    return numbers;
  }

  KernelBuilder& k_;
  const Scratch at_;
  const uint32_t dim_;
  const Val<U32> lane_;
  const InOut<F32> weights_, results_;
  std::vector<Vec<U32, 4>> queries_[2];
  std::deque<Var<F32>> max_, sum_;
  std::deque<Var<F32>> out_;
};

}  // namespace

uint32_t DecodeKernel::AttentionBytes() const { return Scratch(spec_).bytes; }

void DecodeKernel::ProduceCache(const Val<U32>& layer, const Val<U64>& policy) {
  const CachePlan plan(spec_);
  const uint32_t part_bytes = static_cast<uint32_t>(DecodeKvPartBytes(spec_));
  const Val<U32> kv_head = head_group_ * DecodeHeadGroup(spec_) / (spec_.heads / spec_.kv_heads);
  const In<U8> keys(params_.kv.At(layer * 2, part_bytes)
                        .At(kv_head * spec_.context + first_cached_, plan.row_bytes)
                        .address());
  ring_.ProducePairs({plan.row_bytes, plan.chunk_rows, plan.in_flight}, keys, keys.At(part_bytes),
                     cached_, policy);
}

void DecodeKernel::Attend(const Val<U32>& layer) {
  const Scratch at(spec_);
  const uint32_t dim = spec_.head_dim;
  const Shared<U8>& scratch = product_.images();
  const InOut<U8> present = scratch.At(at.present);
  k_.If(part_ < parts_, [&] {
    StageQueries(Region(layer).At(at_.qkv));

    // Sixteen positions at a time; the present one, which is not in the ring, comes last.
    const CachePlan plan(spec_);
    const Val<U32> units = (cached_ + (kPositions - 1)) / kPositions;
    const Val<U32> all = units + Select<U32>(part_ == 0, 1, 0);
    k_.If(warp_ < Min(all, plan.warps), [&] {
      WarpAttention attention(k_, spec_, scratch, warp_, lane_);
      k_.For(warp_, all, {.step = plan.warps}, [&](const Val<U32>& u) {
        const Pred cached = u < units;
        const Val<U32> chunk = u / plan.chunk_units;
        const Val<U32> place = u % plan.chunk_units;
        const InOut<U8> keys = ring_.SlotOf(chunk).At(place, kPositions * plan.row_bytes);
        k_.If(cached, [&] { ring_.WaitFor(chunk); });
        attention.Add(
            Select(cached, keys, present),
            Select(cached, keys.At(plan.chunk_rows * plan.row_bytes), present.At(plan.row_bytes)),
            Select<U32>(cached, Min(cached_ - u * kPositions, kPositions), 1));
        k_.WarpBarrier();  // the weights have been read
        k_.If(cached, [&] {
          ring_.Free(chunk, Select<U32>(u + 1 == units, plan.chunk_units - place, 1),
                     plan.chunk_units, lane_);
        });
      });
      attention.Store();
    });
    ring_.Advance((units + (plan.chunk_units - 1)) / plan.chunk_units);
    k_.NamedBarrier(kCompute, threads());
    const Val<U32> used = Min(all, plan.warps);
    dim == 128 ? JoinWarps<4>(layer, used) : JoinWarps<2>(layer, used);
    k_.If(parts_ != 1, [&] { JoinParts(layer); });
    k_.NamedBarrier(kCompute, threads());  // the scratch is the images' again
  });
}

// Queries and, for the first part, the new key and value; by all threads, four elements each.
void DecodeKernel::StageQueries(const InOut<U32>& qkv) {
  const Scratch at(spec_);
  const uint32_t dim = spec_.head_dim;
  const Shared<U8>& scratch = product_.images();
  const uint32_t query_quads = at.group * dim / 4;
  const uint32_t quads = query_quads + dim / 2;
  const Val<U32> kv_head = head_group_ * at.group / (spec_.heads / spec_.kv_heads);
  const InOut<U32> query = qkv.At(head_group_, at.group * dim * 4);
  const InOut<U32> key = qkv.At(q_rows()).At(kv_head, dim * 4);
  std::deque<Polled<4>> polled;
  for (uint32_t from = 0; from < quads; from += threads()) {
    const Val<U32> quad = thread_ + from;
    const Val<U32> in_key = quad - query_quads;
    const Val<U32> in_part = Select<U32>(in_key >= dim / 4, in_key + (kv_rows() - dim) / 4, in_key);
    polled.emplace_back(k_, Select(quad < query_quads, query.At(quad, 16), key.At(in_part, 16)),
                        quad < query_quads || (part_ == 0 && quad < quads));
  }
  WaitForEach(k_, polled);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  for (uint32_t i = 0; i < polled.size(); ++i) {
    const Val<U32> quad = thread_ + i * threads();
    const Vec<F32, 4> x = polled[i].floats();
    const auto store = [](const InOut<U8>& to, const Vec<F32, 4>& v) {
      to.As<U32>().Store<2>(0, Vec<U32, 2>({PackHalf2(v[0], v[1]), PackHalf2(v[2], v[3])}));
    };
    k_.If(
        quad < query_quads,
        [&] {
          const InOut<U8> to =
              scratch.At(at.queries).At(quad / (dim / 4), at.query).At(quad % (dim / 4), 8);
          const Vec<F32, 4> scaled =
              MakeVec<4>([&](size_t j) { return ClampToHalf(x[j] * scale); });
          store(to, scaled);
          store(to.At(at.group * at.query),
                MakeVec<4>([&](size_t j) { return scaled[j] - ToF32(ToF16(scaled[j])); }));
        },
        [&] {
          k_.If(quad < quads, [&] { store(scratch.At(at.present).At(quad - query_quads, 8), x); });
        });
  }
  k_.NamedBarrier(kCompute, threads());
}

// Each warp takes a head, each lane E elements of it; for the sums of warp w, lane w.
template <size_t E>
void DecodeKernel::JoinWarps(const Val<U32>& layer, const Val<U32>& warps) {
  const Scratch at(spec_);
  const InOut<F32> results = product_.images().As<F32>();
  k_.For(warp_, at.group, {.step = spec_.warps}, [&](const Val<U32>& head) {
    const InOut<F32> state =
        results.At(Min(lane_, warps - 1) * at.group + head, at.result * 4).At(spec_.head_dim);
    const Pred has = lane_ < warps;
    const Val<F32> own_max = Select<F32>(has, state.Load(0), kNoScore);
    const Val<F32> max = WarpMax(own_max);
    const Val<F32> factor = Select<F32>(has, Exp(own_max - max), 0.0f);
    const Val<F32> sum = WarpSum(factor * state.Load(1));
    std::deque<Var<F32>> out;
    for (size_t i = 0; i < E; ++i) out.emplace_back(&k_.recorder(), 0.0f);
    const InOut<F32> column = results.At(head, at.result * 4).At(lane_, E * 4);
    k_.For(0, warps, {.unroll = 4}, [&](const Val<U32>& w) {
      const Vec<F32, E> x = column.At(w, at.group * at.result * 4).template Load<E>(0);
      const Val<F32> its = Broadcast(factor, w);
      for (size_t i = 0; i < E; ++i) out[i].Fma(its, x[i]);
    });
    k_.If(
        parts_ == 1,
        [&] {
          const Val<U32> query_head = head_group_ * at.group + head;
          PublishAttended<E>(Region(layer).At(at_.attended).At(query_head, spec_.head_dim * 2), out,
                             sum);
        },
        [&] {
          constexpr uint32_t kLanes = kPartialElements / E;
          const InOut<U32> to =
              Partial(layer, part_, head * (kWarpLanes / kLanes) + lane_ / kLanes);
          to.At(lane_ % kLanes, E * 4)
              .template Store<E>(
                  0, MakeVec<E>([&](size_t i) { return Bitcast<U32>(Val<F32>(out[i])); }),
                  MemoryOrder::kRelaxed);
          k_.If(lane_ % kLanes == 0, [&] {
            to.At(kPartialElements)
                .Store<2>(0, Vec<U32, 2>({Bitcast<U32>(max), Bitcast<U32>(sum)}),
                          MemoryOrder::kRelaxed);
          });
        });
  });
}

// The units of the group are dealt out to the blocks. Lane p looks after the sums of part p.
void DecodeKernel::JoinParts(const Val<U32>& layer) {
  const uint32_t units = DecodeHeadGroup(spec_) * spec_.head_dim / kPartialElements;
  const Vec<U32, 2> unwritten = MakeVec<2>([&](size_t) { return k_.Const<U32>(kUnwritten); });
  k_.For(warp_, units, {.step = spec_.warps}, [&](const Val<U32>& turn) {
    const Val<U32> unit = turn * parts_ + part_;
    k_.If(unit < units, [&] {
      const auto partial = [&](Operand<U32> part) { return Partial(layer, part, unit); };
      const auto elements_of = [&](Operand<U32> part) { return partial(part).At(lane_, 2 * 4); };
      const Pred has = lane_ < parts_;
      const InOut<U32> state = partial(Min(lane_, at_.max_splits - 1)).At(kPartialElements);
      std::deque<Polled<2>> polled;
      polled.emplace_back(k_, state, has);
      for (uint32_t p = 0; p < at_.max_splits; ++p) {
        polled.emplace_back(k_, elements_of(p), k_.Const<U32>(p) < parts_);
      }
      WaitForEach(k_, polled);
      const Vec<F32, 2> max_sum = polled[0].floats();
      const Val<F32> own_max = Select<F32>(has, max_sum[0], kNoScore);
      const Val<F32> factor = Select<F32>(has, Exp(own_max - WarpMax(own_max)), 0.0f);
      const Val<F32> sum = WarpSum(factor * max_sum[1]);
      std::deque<Var<F32>> out;
      for (size_t i = 0; i < 2; ++i) out.emplace_back(&k_.recorder(), 0.0f);
      for (uint32_t p = 0; p < at_.max_splits; ++p) {
        const Vec<F32, 2> x = polled[1 + p].floats();
        const Val<F32> its = Broadcast(factor, p);
        for (size_t i = 0; i < 2; ++i) out[i].Fma(its, x[i]);
      }
      PublishAttended<2>(
          Region(layer).At(at_.attended).At(head_group_ * units + unit, kPartialElements * 2), out,
          sum);
      // Nobody else reads them: wiped for the next launch.
      k_.For(0, parts_, {}, [&](const Val<U32>& p) {
        elements_of(p).Store<2>(0, unwritten, MemoryOrder::kRelaxed);
      });
      k_.If(has, [&] { state.Store<2>(0, unwritten, MemoryOrder::kRelaxed); });
    });
  });
}

template <size_t E>
void DecodeKernel::PublishAttended(const InOut<U32>& to, const std::deque<Var<F32>>& out,
                                   const Val<F32>& sum) {
  const Val<F32> inverse = Constant<F32>(sum, 1.0f) / sum;
  const auto words = MakeVec<E / 2>([&](size_t i) {
    return PackHalf2(ClampToHalf(out[2 * i] * inverse), ClampToHalf(out[2 * i + 1] * inverse));
  });
  to.At(lane_, E * 2).template Store<E / 2>(0, words, MemoryOrder::kRelaxed);
}

}  // namespace ptxsmith
