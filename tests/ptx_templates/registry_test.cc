#include "ptx_templates/registry.h"

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "codegen/annotate.h"
#include "gtest/gtest.h"
#include "ptx_templates/sources.h"
#include "tests/util/files.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Target Sm90() { return Target::Parse("sm_90").value(); }

TEST(RegistryTest, EveryVariantIsRebuiltFromItsKey) {
  std::set<std::string> keys;
  for (const Family& family : AllFamilies()) {
    for (const std::string& fields : family.variants()) {
      SCOPED_TRACE(absl::StrCat(family.name, ":", fields));
      ASSERT_OK_AND_ASSIGN(const KernelSpec spec, family.build(fields, Sm90()));
      EXPECT_EQ(spec.key, absl::StrCat(family.name, ":", fields, "@sm_90.ptx78"));
      EXPECT_EQ(spec.entry, family.name);
      // Some need what only GPUs of exactly this architecture have.
      EXPECT_EQ(spec.target, spec.target.specific ? Sm90().Specific().value() : Sm90());
      EXPECT_TRUE(keys.insert(spec.key).second) << "two variants have this key";
      ASSERT_OK_AND_ASSIGN(const KernelSpec again, BuildFromKey(spec.key, Target{}));
      ASSERT_EQ(again.key, spec.key);
      ASSERT_EQ(again.ptx, spec.ptx);
    }
  }
}

TEST(RegistryTest, EveryFamilyIsDescribed) {
  std::set<absl::string_view> names;
  for (const Family& family : AllFamilies()) {
    SCOPED_TRACE(std::string(family.name));
    EXPECT_TRUE(names.insert(family.name).second) << "two families have this name";
    EXPECT_FALSE(family.summary.empty());
    EXPECT_FALSE(family.variants().empty());
    EXPECT_FALSE(family.fields().empty());
    for (const FieldHelp& field : family.fields()) {
      EXPECT_FALSE(field.help.empty()) << field.name;
      EXPECT_FALSE(field.allowed.empty()) << field.name;
      EXPECT_FALSE(field.default_value.empty()) << field.name;
    }
    EXPECT_EQ(FindFamily(family.name).value()->name, family.name);
  }
}

TEST(RegistryTest, FieldsLeftOutKeepTheirDefaults) {
  ASSERT_OK_AND_ASSIGN(const KernelSpec some, BuildFromKey("gemv:k=4096", Sm90()));
  EXPECT_THAT(some.key, testing::StartsWith("gemv:quant=q4_k,k=4096,n=any,"));
  ASSERT_OK_AND_ASSIGN(const KernelSpec none, BuildFromKey("gemv", Sm90()));
  EXPECT_THAT(none.key, testing::StartsWith("gemv:quant=q4_k,k=any,n=any,"));
  EXPECT_THAT(none.key, testing::EndsWith("@sm_90.ptx78"));
}

TEST(RegistryTest, TheTargetOfTheKeyGoesFirst) {
  EXPECT_EQ(BuildFromKey("gemv@sm_75", Sm90()).value().target.sm, 75);
  EXPECT_EQ(BuildFromKey("gemv", Sm90()).value().target.sm, 90);
}

TEST(RegistryTest, Errors) {
  const auto error = [](const std::string& key) { return BuildFromKey(key, Sm90()); };
  const auto says = [](const char* text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
  };
  EXPECT_THAT(error(""), says("unknown kernel family ''; known: gemv, "));
  EXPECT_THAT(error("gemn:k=32"), AllOf(says("unknown kernel family 'gemn'"), says("argmax")));
  EXPECT_THAT(error("gemv:kk=32"), says("gemv: unknown field 'kk'; known: quant, k, n, "));
  EXPECT_THAT(error("gemv:k"), says("gemv: 'k' is not of the form field=value"));
  EXPECT_THAT(error("gemv:k=x"), says("gemv: k: 'x' is not a number"));
  EXPECT_THAT(error("gemv:k=40"), says("gemv: k=40 must be any, or at least 32"));
  EXPECT_THAT(error("gemv:quant=q4_k,k=4064"),
              says("gemv: k=4064 is not a positive multiple of 256"));
  EXPECT_THAT(error("gemv:quant=q9"), says("gemv: quant: "));
  EXPECT_THAT(error("gemv:outputs_per_block=3"),
              says("gemv: outputs_per_block=3 must be one of 1, 2, 4, 8, 16"));
  EXPECT_THAT(error("gemv:m=33"), says("gemv: m=33 must be from 1 to 32"));
  EXPECT_THAT(error("gemv:stage=300"), says("gemv: stage=300 must be"));
  EXPECT_THAT(error("gemv:warps_per_output=4,stage=512"),
              says("gemv: stage=512 is not a multiple of 1024, a unit for each of the 4 warps"));
  EXPECT_THAT(error("gemv:outputs_per_block=16,warps_per_output=8"), says("a block of 4096 x 1"));
  EXPECT_THAT(error("gemv:m=32,stage=65536"), says("shared array 'staged' of 8388608 bytes"));
  EXPECT_THAT(error("gemv_q8_1:quant=f16"), says("gemv_q8_1: quant=f16 must be one of q4_0, "));
  EXPECT_THAT(error("gate_up:quant=f16,input=q8_1"),
              says("gate_up: quant=f16 has no integer form for activations of type q8_1"));
  EXPECT_THAT(error("gate_up:input=f16"), says("gate_up: input=f16 must be one of f32, q8_1"));
  EXPECT_THAT(error("gate_up:eps=-1,norm=1"), says("gate_up: eps=-1 is negative"));
  EXPECT_THAT(error("gemv_multi:input=q8_1,norm=1"),
              says("gemv_multi: activations of type q8_1 are neither staged nor normalised"));
  EXPECT_THAT(error("gemv_multi:matrices=4"), says("gemv_multi: matrices=4 must be one of 2, 3"));
  EXPECT_THAT(error("gemv_norm:k=288"), says("gemv_norm: k=288 is not a positive multiple of 256"));
  EXPECT_THAT(error("gemm:k=288"), says("gemm: k=288 is not a positive multiple of 256"));
  EXPECT_THAT(error("gemm:tokens=24"), says("gemm: tokens=24 must be one of 8, 16, 32, 64"));
  EXPECT_THAT(error("dequantize:k=288"), says("dequantize: k=288 is not a positive multiple"));
  EXPECT_THAT(error("dequantize:to=q8_0"), says("dequantize: to=q8_0 must be one of f32, f16"));
  EXPECT_THAT(error("quantize_q8_1:n=33"), says("quantize_q8_1: n=33 must be"));
  EXPECT_THAT(error("gemv@sm_1"), says("unknown target 'sm_1'"));
  EXPECT_THAT(error("gemv@"), says("unknown target ''"));
  EXPECT_THAT(error("rms_norm:n=8,eps=-1"), says("rms_norm: eps=-1 is negative"));
  EXPECT_THAT(error("rms_norm:n=64,blocked=1"), says("rms_norm: blocked=1 needs half=1"));
  EXPECT_THAT(error("rms_norm:n=96,half=1,blocked=1"),
              says("rms_norm: n=96 is not a multiple of 64, as blocked=1 needs"));
  EXPECT_THAT(error("dequantize:k=256,to=f32,blocked=1"), says("blocked=1 needs to=f16"));
  EXPECT_THAT(error("gemm_blocked:residual=1,half=1"), says("residual=1 adds to f32"));
  EXPECT_THAT(error("gemm_blocked:rows=64,glu=1"), says("needs rows=128 or more"));
  EXPECT_THAT(error("layer_norm:n=8,eps=-1"), says("layer_norm: eps=-1 is negative"));
  EXPECT_THAT(error("rope:head_dim=64"), says("rope: rope_dim=128 exceeds head_dim=64"));
  EXPECT_THAT(error("convert:from=f32,to=f32"),
              says("convert: from=f32,to=f32: exactly one of them must be f32"));
  EXPECT_THAT(error("convert:from=q4_k"), says("convert: from=q4_k must be one of f32, f16, bf16"));
  EXPECT_THAT(error("convert:from=f32,to=f16,scale=1"), says("convert: scale=1 is for widening"));
  EXPECT_THAT(error("quantize_e4m3:scaling=max"),
              says("'max' is no scaling; known: none, factor, absmax"));
  EXPECT_THAT(error("absmax:threads=48"), says("absmax: threads=48 must be one of"));
  EXPECT_THAT(error("kv_append:head_dim=80,type=q8_0"),
              says("kv_append: head_dim=80 is not a multiple of 32, the block of q8_0"));
  EXPECT_THAT(error("attention:head_dim=80,type=q8_0"),
              says("attention: head_dim=80 is not a multiple of 32, the block of q8_0"));
  EXPECT_THAT(error("attention:head_dim=72"), says("attention: head_dim=72"));
  EXPECT_THAT(error("attention:heads=6,kv_heads=4"),
              says("attention: heads=6 is not a multiple of kv_heads=4"));
  EXPECT_THAT(error("attention:softcap=-1"), says("attention: softcap=-1 is negative"));
  EXPECT_THAT(error("attention:queries=2,slots=3"), says("attention: queries=2 share what they"));
  EXPECT_THAT(error("attention_combine:splits=1"), says("attention_combine: splits=1"));
  EXPECT_THAT(error("repack:layout=x"), says("unknown layout 'x'; known: dot, mma"));
  EXPECT_THAT(error("gemm_tiles:columns=24"), says("gemm_tiles: columns=24 must be one of"));
  EXPECT_THAT(error("gemm_tiles:k=4096,ctas=1"),
              says("gemm_tiles: k=4096 for 1 blocks; a block takes 2048 columns"));
  EXPECT_THAT(error("join_norm:rows=9"), says("join_norm: rows=9 exceed columns=8"));
  EXPECT_THAT(error("join_attention:heads=1"),
              says("join_attention: heads=1 of head_dim=128 are no multiple of 256 elements"));
  EXPECT_THAT(error("top_k:k=65"), says("top_k: k=65"));
}

TEST(SourcesTest, AreTheFilesOfTheTree) {
  ASSERT_FALSE(KernelSources().empty());
  for (const SourceFile& file : KernelSources()) {
    EXPECT_EQ(std::string(file.text), ReadTestFile(absl::StrCat("../", file.name))) << file.name;
  }
}

TEST(SourcesTest, EveryLineOfAKernelHasItsSource) {
  ASSERT_OK_AND_ASSIGN(const KernelSpec kernel, BuildFromKey("attention", Sm90()));
  for (const SourceLoc& loc : kernel.lines) {
    if (loc.line == 0) continue;
    EXPECT_NE(SourceLine(KernelSources(), loc), "") << loc.file << ":" << loc.line;
  }
  EXPECT_THAT(Annotate(kernel, KernelSources()), HasSubstr("\n\t// attention.cc:"));
}

}  // namespace
}  // namespace ptxsmith
