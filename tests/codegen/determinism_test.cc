// The same record gives the same bytes, whatever ran before and whatever the locale.
#include <clocale>
#include <locale>
#include <string>

#include "gtest/gtest.h"
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

// Digits in groups and a comma for the decimal point.
class Punctuation : public std::numpunct<char> {
 protected:
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

TEST(DeterminismTest, UnderAnotherLocale) {
  const std::string expected = SomeKernel();
  const std::locale before =
      std::locale::global(std::locale(std::locale::classic(), new Punctuation));
  const std::string actual = SomeKernel();
  std::locale::global(before);
  EXPECT_EQ(actual, expected);
}

}  // namespace
}  // namespace ptxsmith
