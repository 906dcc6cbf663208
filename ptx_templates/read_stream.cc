#include "ptx_templates/read_stream.h"

#include "codegen/block.h"
#include "codegen/kernel_builder.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kThreads = 512;
constexpr uint32_t kLoads = 8;
constexpr uint32_t kPiece = kThreads * kLoads * 4;  // words

}  // namespace

absl::StatusOr<KernelSpec> BuildReadStream(const ReadStreamSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), ReadStreamSpec::kFamily, target);
  const auto y = k.Param<Out<U32>>("y", {.count = spec.blocks});
  const auto x = k.Param<In<U32>>("x", {.count = spec.words, .constant = true});
  k.Launch({.block = {kThreads, 1, 1}, .grid = {spec.blocks, 1, 1}});
  k.Costs({.bytes = uint64_t{spec.words} * 4, .flops = 0});

  Var<U32> seen = k.NewVar<U32>(0);
  const Val<U32> thread = k.ThreadX();
  k.For(k.CtaX(), spec.words / kPiece, {.step = spec.blocks}, [&](const Val<U32>& piece) {
    const In<U32> words = x.At(piece, kPiece * 4).At(thread, 16);
    const auto loads = MakeVec<kLoads>([&](size_t i) {
      const auto [a, b, c, d] = words.Load<4>(static_cast<uint32_t>(i) * kThreads * 4);
      return a ^ b ^ c ^ d;
    });
    for (const Val<U32>& load : loads) seen = seen ^ load;
  });
  const Val<U32> all = BlockReduce(k, Val<U32>(seen), kThreads / kWarpLanes, "warps",
                                   [](const auto& a, const auto& b) { return a ^ b; });
  k.If(thread == 0, [&] { y.Store(k.CtaX(), all); });
  return std::move(k).Finish();
}

std::vector<ReadStreamSpec> ReadStreamVariants() { return {{16384, 1}, {65536, 3}, {16384, 5}}; }

}  // namespace ptxsmith
