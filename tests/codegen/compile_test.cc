// What must not compile, asked with requires-expressions; each beside a twin that does. There is
// nothing to run: the test is that this file compiles.
#include <optional>
#include <type_traits>

#include "codegen/spec_fields.h"
#include "tests/codegen/kernels.h"

namespace ptxsmith {
namespace {

template <class A, class B>
concept Addable = requires(A a, B b) {
  a + b;
};
template <class A, class B>
concept Comparable = requires(A a, B b) {
  a < b;
};
template <class A, class B>
concept HasRemainder = requires(A a, B b) {
  a % b;
};
template <class P>
concept Loads = requires(P p) {
  p.Load(0);
};
template <class P>
concept Stores = requires(P p) {
  p.Store(0, 1.0f);
};
template <class V>
concept Widens = requires(V v) {
  ToF32(v);
};
template <class V>
concept Shuffles = requires(V v) {
  ShuffleXor(v, 1);
};
template <class V>
concept Selects = requires(Pred p, V v) {
  Select(p, v, v);
};
template <class T, class L>
concept MakesConst = requires(KernelBuilder k, L literal) {
  k.Const<T>(literal);
};

// Types never convert silently.
static_assert(Addable<Val<F32>, Val<F32>> && !Addable<Val<F32>, Val<U32>>);
static_assert(!Addable<Val<U32>, Val<S32>> && !Addable<Val<U32>, Val<U64>>);
static_assert(Addable<Val<F32>, float> && !Addable<Val<F32>, int> && !Addable<Val<F32>, double>);
static_assert(Addable<Val<U32>, int> && !Addable<Val<U32>, float> && !Addable<Val<U32>, bool>);
static_assert(Addable<Val<F32>, Var<F32>&> && Addable<Var<F32>&, float>);
static_assert(Comparable<Val<U32>, Val<U32>> && !Comparable<Val<U32>, Val<F32>>);
static_assert(HasRemainder<Val<U32>, int> && !HasRemainder<Val<F32>, float>);
static_assert(MakesConst<F32, float> && !MakesConst<F32, int> && !MakesConst<U32, float>);

// A comparison is not a bool of the host, and a bool is no Pred.
static_assert(!std::is_constructible_v<bool, Pred> && !std::is_convertible_v<bool, Pred>);

// A Val is written once, a Var is not copied.
static_assert(std::is_copy_constructible_v<Val<F32>> && !std::is_copy_assignable_v<Val<F32>>);
static_assert(!std::is_assignable_v<Val<U32>&, Val<U32>> && !std::is_assignable_v<Val<U32>&, int>);
static_assert(!std::is_copy_constructible_v<Var<F32>> && !std::is_copy_assignable_v<Var<F32>>);
static_assert(std::is_assignable_v<Var<F32>&, Val<F32>> &&
              !std::is_assignable_v<Var<F32>&, Val<U32>>);

// A buffer is read or written as its type says.
static_assert(Loads<In<F32>> && !Stores<In<F32>>);
static_assert(!Loads<Out<F32>> && Stores<Out<F32>>);
static_assert(Loads<InOut<F32>> && Stores<InOut<F32>> && Loads<Shared<F32>>);
static_assert(!Stores<Out<U32>>, "a float is no U32");

// Operations exist for the types that PTX has them for.
static_assert(Widens<Val<F16>> && Widens<Val<U32>> && !Widens<Val<F32>> && !Widens<Val<U64>>);
static_assert(Shuffles<Val<F32>> && !Shuffles<Val<F16>> && !Shuffles<Val<U64>>);
static_assert(Selects<Val<U64>> && !Selects<Val<F16>>);

// A member that kFields lacks changes the arity that ForEachField compares with.
struct Complete {
  std::optional<uint32_t> n;
  float eps = 0;
  static constexpr auto kFields =
      Fields(Field("n", &Complete::n, {}, ""), Field("eps", &Complete::eps, {}, ""));
};
struct Forgetful {
  std::optional<uint32_t> n;
  float eps = 0;
  bool forgotten = false;
  static constexpr auto kFields =
      Fields(Field("n", &Forgetful::n, {}, ""), Field("eps", &Forgetful::eps, {}, ""));
};
template <class Spec>
constexpr bool kListsAll = std::tuple_size_v<std::remove_cvref_t<decltype(Spec::kFields)>> ==
                           spec_internal::Arity<Spec>();
static_assert(kListsAll<Complete> && !kListsAll<Forgetful>);

}  // namespace
}  // namespace ptxsmith
