// The same record gives the same bytes, whatever ran before and whatever the locale.
#include <string>

#include "gtest/gtest.h"
#include "tests/codegen/comma_locale.h"
#include "tests/codegen/kernels.h"

namespace ptxsmith {
namespace {

std::string SomeKernel() {
  return Build([](KernelBuilder& k) {
           const auto y = k.Param<Out<F32>>("y", {.count = 64});
           const auto x = k.Param<In<F32>>("x", {.count = 64});
           const Shared<F32> s = k.SharedArray<F32>("s", 1 << 14);  // dynamic
           const Val<U32> i = k.GlobalThread();
           s.Store(i & 63, Exp(x.Load(i)) * 1234567.0f);
           k.Barrier();
           const Val<F32> sum = BlockSum(k, s.Load(i & 31), 2, "sums");
           k.For(0, 1000000, {.step = 100000}, [&](const Val<U32>& j) { y.Store(j, sum); });
         })
      .value()
      .ptx;
}

TEST(DeterminismTest, TwiceTheSame) { EXPECT_EQ(SomeKernel(), SomeKernel()); }

TEST(DeterminismTest, UnderAnotherLocale) {
  const std::string expected = SomeKernel();
  const CommaLocale locale;
  if (!locale.found()) GTEST_SKIP() << "no locale with a decimal comma is installed";
  EXPECT_EQ(SomeKernel(), expected);
}

}  // namespace
}  // namespace ptxsmith
