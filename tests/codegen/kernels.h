// What the tests of the kernel language share: a target, and the printed body of a small kernel.
//
//   EXPECT_EQ(BodyOf([](KernelBuilder& k, const Values& v) { v.out(v.a + v.b); }),
//             "add.u32 %r5, %r3, %r4;\n...");
#ifndef PTXSMITH_TESTS_CODEGEN_KERNELS_H_
#define PTXSMITH_TESTS_CODEGEN_KERNELS_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "codegen/block.h"
#include "codegen/kernel_builder.h"
#include "codegen/math.h"
#include "codegen/warp.h"

namespace ptxsmith {

inline Target Sm(int sm) { return Target::ForSm(sm).value(); }

// A kernel "test" of 64 threads in one block, without parameters of its own.
inline absl::StatusOr<KernelSpec> Build(absl::FunctionRef<void(KernelBuilder&)> body,
                                        const Target& target = Sm(80)) {
  KernelBuilder k("test@" + target.ToString(), "test", target);
  k.Launch({.block = {64, 1, 1}});
  body(k);
  return std::move(k).Finish();
}

// What a body may read and write. Registers: %rd1 is y, %rd3 is x, %r0 and %r1 are loaded from x as
// two u32 and %f0, %f1 from x + 8 as two f32.
struct Inputs {
  InOut<U32> y;
  In<U32> x;
  Val<U32> a, b;
  Val<F32> f, g;
};

// The PTX of what `body` adds to a kernel with these inputs: one line an instruction, without tabs.
inline std::string BodyOf(absl::FunctionRef<void(KernelBuilder&, const Inputs&)> body,
                          const Target& target = Sm(80)) {
  const absl::StatusOr<KernelSpec> spec = Build(
      [&](KernelBuilder& k) {
        const auto y = k.Param<InOut<U32>>("y", {.count = 64});
        const auto x = k.Param<In<U32>>("x", {.count = 64});
        const Vec<U32, 2> u = x.Load<2>(0);
        const Vec<F32, 2> f = x.As<F32>().Load<2>(2);
        y.Store(0, 0);  // so that the body need not use y
        body(k, Inputs{y, x, u[0], u[1], f[0], f[1]});
      },
      target);
  if (!spec.ok()) return spec.status().ToString();
  constexpr absl::string_view kLastInput = "st.global.u32 [%rd1], 0;\n";
  absl::string_view text = spec->ptx;
  const size_t begin = text.find(kLastInput);
  if (begin == absl::string_view::npos) return "unexpected start:\n" + spec->ptx;
  text.remove_prefix(begin + kLastInput.size());
  absl::ConsumeSuffix(&text, "\tret;\n}\n");
  return absl::StrJoin(absl::StrSplit(text, "\n"), "\n",
                       [](std::string* out, absl::string_view line) {
                         absl::ConsumePrefix(&line, "\t");
                         out->append(line.data(), line.size());
                       });
}

}  // namespace ptxsmith

#endif  // PTXSMITH_TESTS_CODEGEN_KERNELS_H_
