#include "model/gguf.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/config.h"
#include "model/tokenizer.h"
#include "tests/model/gguf_writer.h"
#include "tests/util/files.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr uint64_t kHuge[] = {1ull << 31, (1ull << 32) - 1, 1ull << 32,
                              1ull << 61, 1ull << 62,       1ull << 63,
                              UINT64_MAX, UINT64_MAX - 7,   (1ull << 63) - 1};

// Expects that the file is refused with `code`, a byte offset and `message`.
void ExpectRefused(const std::string& bytes, StatusCode code, const std::string& message) {
  const absl::StatusOr<GgufFile> file = GgufFile::Parse(Bytes(bytes));
  EXPECT_THAT(file, StatusIs(code, HasSubstr(message)));
  EXPECT_THAT(file, StatusIs(code, HasSubstr("GGUF byte ")));
}
void ExpectRefused(const GgufWriter& w, const std::string& message) {
  ExpectRefused(w.Build(), StatusCode::kDataLoss, message);
}

TEST(GgufTest, ReadsTheBundledModel) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(TestPath("data/sample-q4_k_m.gguf")));
  EXPECT_EQ(file.version(), 3u);
  EXPECT_THAT(file.GetString("general.architecture"), IsOkAndHolds("llama"));
  EXPECT_THAT(file.GetU32("llama.block_count"), IsOkAndHolds(6u));
  EXPECT_THAT(file.GetF32("llama.rope.freq_base"), IsOkAndHolds(10000.0f));
  EXPECT_THAT(file.GetBool("tokenizer.ggml.add_bos_token"), IsOkAndHolds(false));
  EXPECT_THAT(file.GetStrings("tokenizer.ggml.tokens"), IsOkAndHolds(SizeIs(4096)));
  const GgufTensor* output = file.FindTensor("output.weight");
  ASSERT_NE(output, nullptr);
  EXPECT_EQ(output->type, QuantType::kQ6K);
  EXPECT_THAT(output->dims, ElementsAre(256, 4096, 1, 1));
  EXPECT_EQ(output->data.size(), 4096u * 210);
  EXPECT_EQ(file.FindTensor("output"), nullptr);
}

TEST(GgufTest, ReadsEveryKindOfValue) {
  GgufWriter w;
  w.Set("u8", Value(0, uint8_t{200})).Set("i8", Value(1, int8_t{-2}));
  w.Set("u16", Value(2, uint16_t{60000})).Set("i16", Value(3, int16_t{-3}));
  w.Set("u32", U32(4000000000u)).Set("i32", Value(5, int32_t{-4}));
  w.Set("u64", Value(10, uint64_t{1} << 40)).Set("i64", Value(11, int64_t{7}));
  w.Set("f32", F32(0.5f)).Set("f64", Value(12, 0.25)).Set("bool", Bool(1));
  w.Set("string", Str("\xc3\xa4")).Set("strings", Strs({"a", "", "bc"}));
  w.Set("floats", Array<float>(6, {1, 2})).Set("ints", Array<int16_t>(3, {-1, 5}));
  w.Set("empty", Array<float>(6, {}));
  const std::string bytes = w.Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));

  EXPECT_THAT(file.GetU32("u8"), IsOkAndHolds(200u));
  EXPECT_THAT(file.GetU32("u16"), IsOkAndHolds(60000u));
  EXPECT_THAT(file.GetU32("u32"), IsOkAndHolds(4000000000u));
  EXPECT_THAT(file.GetU32("i64"), IsOkAndHolds(7u));
  for (const char* negative_or_large : {"i8", "i16", "i32", "u64", "f32", "bool", "ints"}) {
    EXPECT_THAT(file.GetU32(negative_or_large),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(negative_or_large)));
  }
  EXPECT_THAT(file.GetU32("absent"), StatusIs(StatusCode::kNotFound, HasSubstr("absent")));
  EXPECT_THAT(file.GetF32("f32"), IsOkAndHolds(0.5f));
  EXPECT_THAT(file.GetF32("f64"), IsOkAndHolds(0.25f));
  EXPECT_THAT(file.GetF32("u8"), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(file.GetBool("bool"), IsOkAndHolds(true));
  EXPECT_THAT(file.GetString("string"), IsOkAndHolds("\xc3\xa4"));
  EXPECT_THAT(file.GetString("strings"), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(file.GetStrings("strings"), IsOkAndHolds(ElementsAre("a", "", "bc")));
  EXPECT_THAT(file.GetStrings("string"), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(file.GetStrings("floats"), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(file.GetFloats("floats"), IsOkAndHolds(ElementsAre(1, 2)));
  EXPECT_THAT(file.GetFloats("empty"), IsOkAndHolds(SizeIs(0)));
  EXPECT_THAT(file.GetInts("ints"), IsOkAndHolds(ElementsAre(-1, 5)));
  EXPECT_THAT(OrDefault(file.GetU32("absent"), 9u), IsOkAndHolds(9u));
  EXPECT_THAT(OrDefault(file.GetU32("f32"), 9u), StatusIs(StatusCode::kInvalidArgument));
}

TEST(GgufTest, ReadsVersion2AndLargerAlignment) {
  GgufWriter w = TinyModel();
  w.version = 2;
  w.alignment = 256;
  w.Set("general.alignment", U32(256));
  const std::string bytes = w.Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  const GgufTensor* tensor = file.FindTensor("blk.0.ffn_up.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->data.size(), 96u * 2 * 34);
  EXPECT_EQ(tensor->data.data() + tensor->data.size(), Bytes(bytes).data() + bytes.size());
}

TEST(GgufHostileTest, HeaderOfAnotherFile) {
  for (const std::string magic : {"GGJT", "GGLA", "FUGG",
                                  "\x7f"
                                  "ELF"}) {
    GgufWriter w = TinyModel();
    w.magic = magic;
    ExpectRefused(w.Build(), StatusCode::kInvalidArgument, "not a GGUF file");
  }
  for (const std::string bytes : {"", "G", "GG", "GGU"}) {
    ExpectRefused(bytes, StatusCode::kInvalidArgument, "not a GGUF file");
  }
  for (const uint32_t version : {0u, 1u, 4u, 0xffffffffu}) {
    GgufWriter w = TinyModel();
    w.version = version;
    ExpectRefused(w.Build(), StatusCode::kInvalidArgument, absl::StrCat(version));
  }
  GgufWriter w = TinyModel();
  w.version = 0x03000000;
  ExpectRefused(w.Build(), StatusCode::kInvalidArgument, "big-endian");
}

TEST(GgufHostileTest, CountsBeyondTheFile) {
  const std::string valid = TinyModel().Build();
  for (const uint64_t count : kHuge) {
    std::string bytes = valid;
    bytes.replace(8, 8, Raw(count));
    ExpectRefused(bytes, StatusCode::kDataLoss, "tensor count");
    bytes = valid;
    bytes.replace(16, 8, Raw(count));
    ExpectRefused(bytes, StatusCode::kDataLoss, "metadata count");
  }
}

TEST(GgufHostileTest, LengthsOfStrings) {
  const std::string head = std::string("GGUF") + Raw(3u) + Raw(uint64_t{0}) + Raw(uint64_t{1});
  for (const uint64_t length : kHuge) {
    ExpectRefused(head + Raw(length) + std::string(64, 'a'), StatusCode::kDataLoss,
                  absl::StrCat("needs ", length, " bytes"));
    ExpectRefused(head + RawString("key") + Raw(8u) + Raw(length) + std::string(64, 'a'),
                  StatusCode::kDataLoss, "'key'");
  }
  ExpectRefused(head + RawString("key") + Raw(8u) + Raw(uint64_t{65}) + std::string(64, 'a'),
                StatusCode::kDataLoss, "needs 65 bytes, 64 are left");
  ExpectRefused(GgufWriter().Set(std::string(65536, 'k'), U32(1)), "65536 bytes");
  ExpectRefused(GgufWriter().Set("", U32(1)), "has 0 bytes");
}

TEST(GgufHostileTest, ContentsOfStrings) {
  ExpectRefused(GgufWriter().Set(std::string("a\0b", 3), U32(1)), "not printable");
  ExpectRefused(GgufWriter().Set("a b", U32(1)), "not printable");
  ExpectRefused(GgufWriter().Set("\xff", U32(1)), "not UTF-8");
  for (const std::string text :
       {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xe2\x82"}) {
    ExpectRefused(GgufWriter().Set("general.name", Str(text)), "'general.name'");
  }
  GgufWriter w;
  w.metadata = {{"key", U32(1)}, {"key", U32(1)}};
  ExpectRefused(w, "'key': the key occurs twice");
}

TEST(GgufHostileTest, Values) {
  ExpectRefused(GgufWriter().Set("key", Value(13, 0u)), "unknown value type 13");
  ExpectRefused(GgufWriter().Set("key", Value(0xffffffffu, 0u)), "unknown value type 4294967295");
  ExpectRefused(GgufWriter().Set("key", Bool(2)), "bool with value 2");
  ExpectRefused(GgufWriter().Set("key", Array<uint8_t>(7, {0, 1, 3})), "bool with value 3");
  ExpectRefused(GgufWriter().Set("key", Array<uint32_t>(9, {0, 0, 0})), "array of arrays");
  ExpectRefused(GgufWriter().Set("key", Array<uint32_t>(13, {0, 0, 0})), "unknown value type 13");
  for (const uint64_t count : kHuge) {
    for (const uint32_t type : {0u, 5u, 7u, 8u, 12u}) {
      ExpectRefused(GgufWriter().Set("key", Raw(9u) + Raw(type) + Raw(count)),
                    absl::StrCat(count, " elements"));
    }
  }
  // Three strings announced, two present, and no padding that would read as an empty one.
  GgufWriter w;
  w.alignment = 1;
  w.Set("key", Raw(9u) + Raw(8u) + Raw(uint64_t{3}) + RawString("a") + RawString("bbbbbbbb"));
  ExpectRefused(w, "'key': needs 8 bytes, 0 are left");
}

TEST(GgufHostileTest, Alignment) {
  for (const uint32_t alignment : {0u, 1u, 3u, 24u, 1u << 31, 0xffffffffu}) {
    ExpectRefused(TinyModel().Set("general.alignment", U32(alignment)),
                  absl::StrCat("general.alignment: ", alignment));
  }
  for (const std::string& value : {Str("32"), F32(32), Array<uint32_t>(4, {32})}) {
    const std::string bytes = TinyModel().Set("general.alignment", value).Build();
    EXPECT_THAT(GgufFile::Parse(Bytes(bytes)),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("general.alignment")));
  }
}

// The tiny model with its second tensor changed.
template <class F>
GgufWriter WithTensor(F&& change) {
  GgufWriter w = TinyModel();
  change(w.tensors[1]);
  return w;
}

TEST(GgufHostileTest, TensorShapes) {
  using T = GgufWriter::Tensor;
  ExpectRefused(WithTensor([](T& t) { t.dims = {}; }), "0 dimensions");
  ExpectRefused(WithTensor([](T& t) { t.dims = {64, 1, 1, 1, 1}; }), "5 dimensions");
  ExpectRefused(WithTensor([](T& t) { t.dims = {64, 0}; }), "dimension 1 is 0");
  ExpectRefused(WithTensor([](T& t) { t.dims = {0}; }), "dimension 0 is 0");
  ExpectRefused(WithTensor([](T& t) { t.dims = {1ull << 63}; }), "do not fit");
  ExpectRefused(WithTensor([](T& t) { t.dims = {1ull << 32, 1ull << 32}; }), "overflows");
  ExpectRefused(WithTensor([](T& t) { t.dims = {1ull << 63, 2}; }), "overflows");
  // The product wraps to exactly the right size, 64 * 96.
  ExpectRefused(WithTensor([](T& t) { t.dims = {64, 96 + (1ull << 58)}; }), "overflows");
  ExpectRefused(WithTensor([](T& t) { t.dims = {1ull << 62}, t.type = 28; }), "overflows");
  ExpectRefused(WithTensor([](T& t) { t.dims = {63, 96}; }), "not a multiple of the 32 weights");
  ExpectRefused(WithTensor([](T& t) { t.type = 12; }), "not a multiple of the 256 weights");
}

TEST(GgufHostileTest, TensorNamesAndTypes) {
  using T = GgufWriter::Tensor;
  for (const uint32_t id : {4u, 5u, 31u, 38u, 1000u, 0xffffffffu}) {
    ExpectRefused(WithTensor([&](T& t) { t.type = id; }).Build(), StatusCode::kInvalidArgument,
                  absl::StrCat("'blk.0.ffn_up.weight': unknown tensor type ", id));
  }
  ExpectRefused(WithTensor([](T& t) { t.name = std::string(65, 'n'); }), "65 bytes");
  ExpectRefused(WithTensor([](T& t) { t.name = ""; }), "0 bytes");
  ExpectRefused(WithTensor([](T& t) { t.name = "output_norm.weight"; }), "occurs twice");
}

TEST(GgufHostileTest, TensorData) {
  using T = GgufWriter::Tensor;
  ExpectRefused(WithTensor([](T& t) { t.offset = 8; }), "not a multiple of 32");
  ExpectRefused(WithTensor([](T& t) { t.offset = 288; }), "do not fit");
  ExpectRefused(WithTensor([](T& t) { t.offset = 1ull << 40; }), "do not fit");
  ExpectRefused(WithTensor([](T& t) { t.offset = UINT64_MAX - 31; }), "do not fit");
  ExpectRefused(WithTensor([](T& t) { t.offset = 224; }), "lies inside 'output_norm.weight'");
  ExpectRefused(WithTensor([](T& t) { t.offset = 0; }), "lies inside");
  GgufWriter decreasing = TinyModel();
  decreasing.tensors[0].offset = 96 * 2 * 34;
  decreasing.tensors[1].offset = 0;
  const std::string bytes = decreasing.Build();
  EXPECT_OK(GgufFile::Parse(Bytes(bytes)));
  GgufWriter short_by_one = TinyModel();
  --short_by_one.data_bytes;
  ExpectRefused(short_by_one, "do not fit");
}

TEST(GgufHostileTest, TruncationAtEveryByte) {
  const std::string valid = TinyModel().Build();
  for (size_t size = 0; size < valid.size(); ++size) {
    // A copy of exactly this size, so that sanitizers see any read beyond it.
    const std::vector<uint8_t> bytes(valid.begin(), valid.begin() + size);
    ASSERT_FALSE(GgufFile::Parse(bytes).ok()) << size;
  }
  EXPECT_OK(GgufFile::Parse(Bytes(valid)));
}

// Whatever a single byte does, all that reads metadata ends with a value or an error.
TEST(GgufHostileTest, MutatedBytesSeed1) {
  const std::string valid = TinyModel().Build();
  const size_t header = valid.size() - TinyModel().data_bytes;
  Rng rng(1);
  int accepted = 0;
  int refused = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string bytes = valid;
    bytes[rng.Below(header)] = static_cast<char>(rng.Below(256));
    const absl::StatusOr<GgufFile> file = GgufFile::Parse(Bytes(bytes));
    if (!file.ok()) {
      ++refused;
      continue;
    }
    ++accepted;
    for (const GgufTensor& tensor : file->tensors()) {
      ASSERT_LE(tensor.data.data() + tensor.data.size(), Bytes(bytes).data() + bytes.size());
    }
    const absl::StatusOr<ModelConfig> config = ModelConfig::FromGguf(*file);
    if (config.ok()) {
      ASSERT_EQ(config->head_count % config->head_count_kv, 0u);
    }
    const absl::StatusOr<Tokenizer> tokenizer = Tokenizer::Create(*file);
    if (tokenizer.ok()) {
      const absl::StatusOr<std::vector<TokenId>> ids =
          tokenizer->Encode("hello<br> w\xc3\xb6rld<|end|>", {.parse_special = true});
      if (ids.ok()) tokenizer->Decode(*ids);
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_GT(refused, 100);
}

class GgufOpenTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) {
    return absl::StrCat(testing::TempDir(), "/ptxsmith_gguf_", getpid(), "_", name);
  }
};

TEST_F(GgufOpenTest, OnlyRegularFiles) {
  EXPECT_THAT(GgufFile::Open(Path("absent")), StatusIs(StatusCode::kNotFound, HasSubstr("absent")));
  EXPECT_THAT(GgufFile::Open(testing::TempDir()), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(GgufFile::Open("/dev/zero"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("not a regular file")));
  const std::string fifo = Path("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(GgufFile::Open(fifo), StatusIs(StatusCode::kInvalidArgument));
  unlink(fifo.c_str());
  const std::string loop = Path("loop");
  ASSERT_EQ(symlink(loop.c_str(), loop.c_str()), 0);
  EXPECT_FALSE(GgufFile::Open(loop).ok());
  unlink(loop.c_str());
}

TEST_F(GgufOpenTest, NamesTheFileAndSurvivesHugeHoles) {
  const std::string path = Path("file");
  std::ofstream(path, std::ios::binary) << TinyModel().Build().substr(0, 100);
  EXPECT_THAT(GgufFile::Open(path), StatusIs(StatusCode::kDataLoss, HasSubstr(path)));
  std::ofstream(path, std::ios::binary | std::ios::trunc).flush();
  EXPECT_THAT(GgufFile::Open(path), StatusIs(StatusCode::kInvalidArgument, HasSubstr("empty")));
  if (truncate(path.c_str(), off_t{1} << 40) == 0) {  // file systems without sparse files refuse
    EXPECT_THAT(GgufFile::Open(path),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("not a GGUF file")));
  }
  unlink(path.c_str());
}

// A model of two tensors in two files.
class GgufSplitTest : public GgufOpenTest {
 protected:
  void SetUp() override {
    parts_[0] = TinyModel();
    parts_[1] = GgufWriter();
    for (uint16_t i = 0; i < 2; ++i) {
      parts_[i].tensors = {{absl::StrCat("tensor_", i), {8}, 0, 0}};
      parts_[i].data_bytes = 32;
      parts_[i].Set("split.no", Value(2, i)).Set("split.count", Value(2, uint16_t{2}));
      parts_[i].Set("split.tensors.count", Value(5, int32_t{2}));
    }
  }
  void TearDown() override {
    for (const int i : {0, 1}) unlink(PartPath(i).c_str());
  }
  std::string PartPath(int i) { return Path(absl::StrCat("model-0000", i + 1, "-of-00002.gguf")); }
  absl::StatusOr<GgufFile> Open() {
    for (const int i : {0, 1}) std::ofstream(PartPath(i), std::ios::binary) << parts_[i].Build();
    return GgufFile::Open(PartPath(0));
  }

  GgufWriter parts_[2];
};

TEST_F(GgufSplitTest, PartsAreJoined) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file, Open());
  EXPECT_EQ(file.parts(), 2u);
  EXPECT_EQ(file.size(), parts_[0].Build().size() + parts_[1].Build().size());
  EXPECT_THAT(file.GetString("general.architecture"), IsOkAndHolds("llama"));
  ASSERT_THAT(file.tensors(), SizeIs(2));
  for (const char* name : {"tensor_0", "tensor_1"}) {
    ASSERT_NE(file.FindTensor(name), nullptr);
    EXPECT_EQ(file.FindTensor(name)->data[31], 0x11);
  }
  EXPECT_OK(ModelConfig::FromGguf(file));
}

TEST_F(GgufSplitTest, PartsThatAreMissingOrForeign) {
  EXPECT_OK(Open());
  EXPECT_THAT(GgufFile::Open(PartPath(1)),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("part 2 of 2 of a model")));
  unlink(PartPath(1).c_str());
  EXPECT_THAT(GgufFile::Open(PartPath(0)),
              StatusIs(StatusCode::kNotFound,
                       testing::AllOf(HasSubstr(PartPath(0)), HasSubstr(PartPath(1)))));

  const GgufWriter valid = parts_[1];
  for (const char* key : {"split.no", "split.count"}) {
    parts_[1] = valid;
    parts_[1].Set(key, U32(7));
    EXPECT_THAT(Open(), StatusIs(StatusCode::kDataLoss, HasSubstr("does not say")));
    parts_[1].Remove(key);
    EXPECT_THAT(Open(), StatusIs(StatusCode::kDataLoss, HasSubstr("does not say")));
  }
  parts_[1] = valid;
  parts_[1].tensors[0].name = "tensor_0";
  EXPECT_THAT(Open(), StatusIs(StatusCode::kDataLoss, HasSubstr("repeats the tensor tensor_0")));
  parts_[1] = valid;
  parts_[1].tensors.clear();
  EXPECT_THAT(Open(), StatusIs(StatusCode::kDataLoss, HasSubstr("parts have 1 tensors")));
  parts_[1] = valid;
  parts_[1].version = 9;
  EXPECT_THAT(Open(), StatusIs(StatusCode::kInvalidArgument, HasSubstr(PartPath(1))));
}

TEST_F(GgufSplitTest, KeysOfTheFirstPart) {
  const GgufWriter valid = parts_[0];
  parts_[0].Set("split.count", U32(3));
  EXPECT_THAT(Open(), StatusIs(StatusCode::kInvalidArgument, HasSubstr("-00001-of-00003.gguf")));
  for (const char* key : {"split.no", "split.tensors.count"}) {
    parts_[0] = valid;
    parts_[0].Remove(key);
    EXPECT_THAT(Open(), StatusIs(StatusCode::kNotFound, HasSubstr(key)));
  }
  parts_[0] = valid;
  parts_[0].Set("split.count", Str("2"));
  EXPECT_THAT(Open(), StatusIs(StatusCode::kInvalidArgument, HasSubstr("split.count")));
}

TEST_F(GgufOpenTest, CopiesOutliveTheOriginal) {
  absl::StatusOr<GgufFile> original = GgufFile::Open(TestPath("data/sample-q4_k_m.gguf"));
  ASSERT_OK(original);
  const GgufFile copy = *original;
  original = absl::CancelledError();
  EXPECT_THAT(copy.GetString("general.name"), IsOkAndHolds("sample"));
}

}  // namespace
}  // namespace ptxsmith
