// Words that one block writes once and others wait for: all ones until then, which is a NaN that no
// arithmetic gives. No fence and no counter is needed, as every word carries its own news.
//
//   Publish(at, index, word);
//   Polled<4> polled(k, at);
//   WaitFor(k, polled);                                  // by all lanes of a warp
//   ... polled.words() ...
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_POLLING_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_POLLING_H_

#include <cstddef>
#include <deque>

#include "codegen/kernel_builder.h"
#include "codegen/warp.h"

namespace ptxsmith {

inline constexpr uint32_t kUnwritten = 0xffffffff;

inline void Publish(const InOut<U32>& at, Operand<U32> index, Operand<U32> word) {
  at.Store(index, word, MemoryOrder::kRelaxed);
}

// N words at a time, to be loaded again until all of a warp's are there. Threads that do not want
// theirs have zeros: whoever polls without need delays the others, as one line of L2 serves one
// request at a time.
template <size_t N>
class Polled {
 public:
  Polled(KernelBuilder& k, const InOut<U32>& at) : Polled(k, at, k.True()) {}
  Polled(KernelBuilder& k, const InOut<U32>& at, const Pred& wanted)
      : k_(k), at_(at), wanted_(wanted) {
    const Val<U32> first = Select<U32>(wanted, kUnwritten, 0);
    for (size_t i = 0; i < N; ++i) words_.emplace_back(&k.recorder(), first);
  }
  void Load() {
    k_.If(wanted_, [&] {
      const Vec<U32, N> loaded = at_.template Load<N>(0, MemoryOrder::kRelaxed);
      for (size_t i = 0; i < N; ++i) words_[i] = loaded[i];
    });
  }
  // Whether every lane of the warp has all of its words.
  Pred Complete() const {
    const auto all = [&](const auto& self, size_t i) -> Pred {
      const Pred there = words_[i] != kUnwritten;
      return i + 1 == N ? there : there && self(self, i + 1);
    };
    return All(all(all, 0));
  }
  Vec<U32, N> words() const {
    return MakeVec<N>([&](size_t i) -> Val<U32> { return words_[i]; });
  }
  Vec<F32, N> floats() const {
    return MakeVec<N>([&](size_t i) { return Bitcast<F32>(Val<U32>(words_[i])); });
  }

 private:
  KernelBuilder& k_;
  InOut<U32> at_;
  Pred wanted_;
  std::deque<Var<U32>> words_;
};

// Polls all of them at once: a word that must be waited for costs a trip to L2, so trips go side by
// side.
template <class... P>
void WaitFor(KernelBuilder& k, P&... polled) {
  k.Repeat([&] {
    (polled.Load(), ...);
    return !(polled.Complete() && ...);
  });
}
// The same for lists.
template <size_t... N>
void WaitForEach(KernelBuilder& k, std::deque<Polled<N>>&... lists) {
  const auto complete = [](const auto& list) {
    const auto all = [&](const auto& self, size_t i) -> Pred {
      const Pred there = list[i].Complete();
      return i + 1 == list.size() ? there : there && self(self, i + 1);
    };
    return all(all, 0);
  };
  k.Repeat([&] {
    const auto load = [](auto& list) {
      for (auto& each : list) each.Load();
    };
    (load(lists), ...);
    return !(complete(lists) && ...);
  });
}

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_POLLING_H_
