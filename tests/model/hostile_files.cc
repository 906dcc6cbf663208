#include "tests/model/hostile_files.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/chat.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "model/weights.h"
#include "tests/model/gguf_writer.h"

namespace ptxsmith {
GgufWriter CompleteModel() {
  constexpr uint32_t kWidth = 32;
  constexpr uint32_t kF32 = 0;
  constexpr uint32_t kQ8_0 = 8;
  GgufWriter w = TinyModel();
  for (const char* key : {"embedding_length", "feed_forward_length"}) {
    w.Set(absl::StrCat("llama.", key), U32(kWidth));
  }
  w.tensors.clear();
  w.data_bytes = 0;
  const auto matrix = [&](const char* name, uint32_t rows) {
    w.AddTensor(name, {kWidth, rows}, kQ8_0, std::string(rows * 34, '\0'));
  };
  matrix("token_embd.weight", kTinyVocab);
  for (const char* name :
       {"output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"}) {
    w.AddTensor(name, {kWidth}, kF32, std::string(kWidth * 4, '\0'));
  }
  for (const char* name :
       {"blk.0.attn_q.weight", "blk.0.attn_output.weight", "blk.0.ffn_gate.weight",
        "blk.0.ffn_up.weight", "blk.0.ffn_down.weight"}) {
    matrix(name, kWidth);
  }
  matrix("blk.0.attn_k.weight", kWidth / 2);  // two of four heads
  matrix("blk.0.attn_v.weight", kWidth / 2);
  return w;
}

namespace {

using absl::StatusCode;
using Tensor = GgufWriter::Tensor;

constexpr std::pair<const char*, uint64_t> kHuge[] = {
    {"2^31", 1ull << 31}, {"2^32-1", (1ull << 32) - 1}, {"2^32", 1ull << 32},
    {"2^61", 1ull << 61}, {"2^62", 1ull << 62},         {"2^63-1", (1ull << 63) - 1},
    {"2^63", 1ull << 63}, {"2^64-8", UINT64_MAX - 7},   {"2^64-1", UINT64_MAX}};

class List {
 public:
  void Add(const std::string& name, const std::string& bytes, const std::string& message,
           StatusCode code = StatusCode::kDataLoss) {
    files.push_back({name, bytes, code, message});
  }
  void Add(const std::string& name, const GgufWriter& w, const std::string& message,
           StatusCode code = StatusCode::kDataLoss) {
    Add(name, w.Build(), message, code);
  }
  // The tiny model with another value, or with the second tensor changed.
  void Set(const std::string& name, const std::string& key, const std::string& value,
           const std::string& message, StatusCode code = StatusCode::kDataLoss) {
    Add(name, TinyModel().Set(key, value), message, code);
  }
  template <class F>
  void Change(const std::string& name, F&& change, const std::string& message,
              StatusCode code = StatusCode::kDataLoss) {
    GgufWriter w = TinyModel();
    change(w.tensors[1]);
    Add(name, w, message, code);
  }

  std::vector<HostileFile> files;
};

void AddHeaders(List& list) {
  const std::string valid = TinyModel().Build();
  constexpr StatusCode kForeign = StatusCode::kInvalidArgument;
  for (const char* magic : {"", "G", "GG", "GGU", "GGJT", "GGLA", "FUGG",
                            "\x7f"
                            "ELF"}) {
    list.Add(absl::StrCat("magic_", magic), magic + valid.substr(4), "magic: not a GGUF file",
             kForeign);
  }
  list.Add("empty", "", "magic: not a GGUF file", kForeign);
  for (size_t size = 1; size < 24; ++size) {
    list.Add(absl::StrCat("header_of_", size), valid.substr(0, size),
             size < 4 ? "not a GGUF file" : "bytes, ", size < 4 ? kForeign : StatusCode::kDataLoss);
  }
  for (const uint32_t version : {0u, 1u, 4u, 0xffffffffu}) {
    GgufWriter w = TinyModel();
    w.version = version;
    list.Add(absl::StrCat("version_", version), w,
             absl::StrCat("GGUF byte 4: version: ", version, " is not supported"), kForeign);
  }
  GgufWriter w = TinyModel();
  w.version = 0x03000000;
  list.Add("big_endian", w, "GGUF byte 4: version: big-endian", kForeign);
  for (const auto& [name, count] : kHuge) {
    std::string bytes = valid;
    bytes.replace(8, 8, Raw(count));
    list.Add(absl::StrCat("tensor_count_", name), bytes,
             absl::StrCat("GGUF byte 8: tensor count: ", count, " tensors cannot fit"));
    bytes = valid;
    bytes.replace(16, 8, Raw(count));
    list.Add(absl::StrCat("metadata_count_", name), bytes,
             absl::StrCat("GGUF byte 16: metadata count: ", count, " entries cannot fit"));
  }
}

void AddStrings(List& list) {
  const std::string head = std::string("GGUF") + Raw(3u) + Raw(uint64_t{0}) + Raw(uint64_t{1});
  const std::string tail(64, 'a');
  for (const auto& [name, length] : kHuge) {
    list.Add(absl::StrCat("key_length_", name), head + Raw(length) + tail,
             absl::StrCat("GGUF byte 32: key of metadata entry 0: needs ", length, " bytes"));
    list.Add(absl::StrCat("string_length_", name),
             head + RawString("key") + Raw(8u) + Raw(length) + tail,
             absl::StrCat("'key': needs ", length, " bytes, 64 are left"));
  }
  list.Add("string_one_too_long", head + RawString("key") + Raw(8u) + Raw(uint64_t{65}) + tail,
           "GGUF byte 47: 'key': needs 65 bytes, 64 are left");
  list.Set("key_of_65536", std::string(65536, 'k'), U32(1), "has 65536 bytes; 1 to 65535");
  list.Set("key_empty", "", U32(1), "has 0 bytes; 1 to 65535");
  list.Set("key_with_nul", std::string("a\0b", 3), U32(1), "is not printable ASCII");
  list.Set("key_with_space", "a b", U32(1), "is not printable ASCII");
  list.Set("key_not_utf8", "\xff", U32(1), "byte 0 of the string is not UTF-8");
  const std::pair<const char*, const char*> texts[] = {{"continuation", "\xff"},
                                                       {"overlong", "\xc0\x80"},
                                                       {"surrogate", "\xed\xa0\x80"},
                                                       {"beyond_unicode", "\xf4\x90\x80\x80"},
                                                       {"cut", "a\xe2\x82"}};
  for (const auto& [name, text] : texts) {
    list.Set(absl::StrCat("string_", name), "general.name", Str(text), "is not UTF-8");
  }
  GgufWriter twice = TinyModel();
  twice.metadata.emplace_back("general.architecture", Str("llama"));
  list.Add("key_twice", twice, "'general.architecture': the key occurs twice");
}

void AddValues(List& list) {
  list.Set("type_13", "key", Value(13, 0u), "'key': unknown value type 13");
  list.Set("type_2^32-1", "key", Value(0xffffffffu, 0u), "unknown value type 4294967295");
  list.Set("bool_2", "key", Bool(2), "'key': bool with value 2");
  list.Set("bools_3", "key", Array<uint8_t>(7, {0, 1, 3}), "'key': bool with value 3");
  list.Set("array_of_arrays", "key", Array<uint32_t>(9, {0, 0, 0}), "'key': array of arrays");
  list.Set("array_of_type_13", "key", Array<uint32_t>(13, {0, 0, 0}), "unknown value type 13");
  for (const auto& [name, count] : kHuge) {
    for (const uint32_t type : {0u, 5u, 7u, 8u, 12u}) {
      list.Set(absl::StrCat("array_of_", name, "_type_", type), "key",
               Raw(9u) + Raw(type) + Raw(count), absl::StrCat("'key': ", count, " elements"));
    }
  }
  for (const uint32_t alignment : {0u, 1u, 3u, 24u, 1u << 31, 0xffffffffu}) {
    list.Set(absl::StrCat("alignment_", alignment), "general.alignment", U32(alignment),
             absl::StrCat("general.alignment: ", alignment, " is not a power of two"));
  }
  list.Set("alignment_string", "general.alignment", Str("32"), "'general.alignment' is a value",
           StatusCode::kInvalidArgument);
  list.Set("alignment_array", "general.alignment", Array<uint32_t>(4, {32}),
           "'general.alignment' is an array", StatusCode::kInvalidArgument);
  list.Set("alignment_wrapping_u32", "general.alignment", Value(10, (1ull << 32) + 32),
           "'general.alignment' is a value", StatusCode::kInvalidArgument);
  list.Set("alignment_after_the_layout", "general.alignment", U32(512),
           "offset 256 is not a multiple of 512");
}

void AddTensors(List& list) {
  list.Change(
      "rank_0", [](Tensor& t) { t.dims = {}; }, "0 dimensions");
  list.Change(
      "rank_5",
      [](Tensor& t) {
        t.dims = {64, 1, 1, 1, 1};
      },
      "5 dimensions");
  list.Change(
      "dim_0", [](Tensor& t) { t.dims = {0}; }, "dimension 0 is 0");
  list.Change(
      "dim_1_of_0",
      [](Tensor& t) {
        t.dims = {64, 0};
      },
      "dimension 1 is 0");
  list.Change(
      "dim_2^63", [](Tensor& t) { t.dims = {1ull << 63}; }, "do not fit");
  list.Change(
      "dims_wrap_to_0",
      [](Tensor& t) {
        t.dims = {1ull << 32, 1ull << 32};
      },
      "elements overflows");
  list.Change(
      "dims_wrap_to_0_by_sign",
      [](Tensor& t) {
        t.dims = {1ull << 63, 2};
      },
      "elements overflows");
  list.Change(
      "dims_wrap_to_the_right_size",
      [](Tensor& t) {
        t.dims = {64, 96 + (1ull << 58)};
      },
      "elements overflows");
  list.Change(
      "bytes_wrap", [](Tensor& t) { t.dims = {1ull << 62}, t.type = 28; }, "bytes overflows");
  list.Change(
      "row_of_63",
      [](Tensor& t) {
        t.dims = {63, 96};
      },
      "not a multiple of the 32 weights");
  list.Change(
      "row_for_256", [](Tensor& t) { t.type = 12; }, "not a multiple of the 256 weights");
  for (const uint32_t id : {4u, 5u, 31u, 38u, 1000u, 0xffffffffu}) {
    list.Change(
        absl::StrCat("tensor_type_", id), [&](Tensor& t) { t.type = id; },
        absl::StrCat("'blk.0.ffn_up.weight': unknown tensor type ", id),
        StatusCode::kInvalidArgument);
  }
  list.Change(
      "name_of_65", [](Tensor& t) { t.name = std::string(65, 'n'); }, "has 65 bytes");
  list.Change(
      "name_empty", [](Tensor& t) { t.name = ""; }, "has 0 bytes");
  list.Change(
      "name_twice", [](Tensor& t) { t.name = "output_norm.weight"; },
      "'output_norm.weight': the name occurs twice");
  list.Change(
      "offset_8", [](Tensor& t) { t.offset = 8; }, "offset 8 is not a multiple of 32");
  list.Change(
      "offset_past_the_end", [](Tensor& t) { t.offset = 1ull << 40; }, "do not fit");
  list.Change(
      "offset_one_block_late", [](Tensor& t) { t.offset = 288; }, "do not fit");
  list.Change(
      "offset_wrapping", [](Tensor& t) { t.offset = UINT64_MAX - 31; }, "do not fit");
  list.Change(
      "overlap", [](Tensor& t) { t.offset = 224; }, "lies inside 'output_norm.weight'");
  list.Change(
      "same_place", [](Tensor& t) { t.offset = 0; }, "lies inside");
  GgufWriter w = TinyModel();
  --w.data_bytes;
  list.Add("last_byte_missing", w, "do not fit the data section");
}

void AddShapes(List& list) {
  constexpr StatusCode kWrongKind = StatusCode::kInvalidArgument;
  for (const char* name :
       {"block_count", "context_length", "embedding_length", "feed_forward_length",
        "attention.head_count", "attention.layer_norm_rms_epsilon"}) {
    const std::string key = absl::StrCat("llama.", name);
    list.Add(absl::StrCat(name, "_missing"), TinyModel().Remove(key),
             absl::StrCat("no key '", key, "'"), StatusCode::kNotFound);
    list.Set(absl::StrCat(name, "_bool"), key, Bool(1), key, kWrongKind);
  }
  for (const char* name :
       {"block_count", "context_length", "embedding_length", "feed_forward_length",
        "attention.head_count", "attention.head_count_kv", "attention.key_length",
        "attention.value_length", "rope.dimension_count", "vocab_size"}) {
    const std::string key = absl::StrCat("llama.", name);
    for (const uint32_t value : {0u, 1u << 31}) {
      list.Set(absl::StrCat(name, "_", value), key, U32(value),
               absl::StrCat(key, " = ", value, " is not in 1 to "));
    }
  }
  list.Set("head_count_5", "llama.attention.head_count", U32(5), "is not a multiple of");
  list.Set("head_count_kv_8", "llama.attention.head_count_kv", U32(8), "is not a multiple of");
  list.Set("head_count_kv_of_2_blocks", "llama.attention.head_count_kv", Array<int32_t>(5, {2, 2}),
           "has 2 elements for 1 blocks");
  list.Set("rope_dim_odd", "llama.rope.dimension_count", U32(15), "is not even");
  list.Set("rope_dim_beyond_the_head", "llama.rope.dimension_count", U32(18), "at most the head's");
  list.Set("vocab_size_260", "llama.vocab_size", U32(260), "has 261 elements");
  list.Set("experts_without_experts", "llama.expert_count", U32(8), "expert_count = 8",
           StatusCode::kUnimplemented);
  const std::pair<const char*, float> numbers[] = {
      {"0", 0}, {"negative", -1}, {"inf", INFINITY}, {"nan", NAN}};
  for (const auto& [name, value] : numbers) {
    for (const char* key : {"attention.layer_norm_rms_epsilon", "rope.freq_base"}) {
      list.Set(absl::StrCat(key, "_", name), absl::StrCat("llama.", key), F32(value),
               "is not a positive number");
    }
  }
  list.Set("split_of_3", "split.count", Value(2, uint16_t{3}), "split.count = 3", kWrongKind);
}

void AddTokenizers(List& list) {
  constexpr StatusCode kWrongKind = StatusCode::kInvalidArgument;
  for (const char* name : {"model", "pre", "merges"}) {
    const std::string key = absl::StrCat("tokenizer.ggml.", name);
    list.Add(absl::StrCat(name, "_missing"), TinyModel().Remove(key), key, StatusCode::kNotFound);
    list.Set(absl::StrCat(name, "_u32"), key, U32(1), key, kWrongKind);
  }
  list.Set("model_unknown", "tokenizer.ggml.model", Str("rwkv"), "'rwkv' is not supported",
           StatusCode::kUnimplemented);
  list.Set("pre_unknown", "tokenizer.ggml.pre", Str("klingon"), "'klingon' is not supported",
           StatusCode::kUnimplemented);
  list.Set("tokens_none", "tokenizer.ggml.tokens", Strs({}), "has 0 elements");
  std::vector<std::string> tokens = TinyTokens();
  tokens[kLl] = "he";
  list.Set("tokens_repeat", "tokenizer.ggml.tokens", Strs(tokens), "'he' repeats token 256");
  tokens = TinyTokens();
  tokens[kBr] = std::string(10 << 10, 'x');
  list.Set("special_token_of_10_kB", "tokenizer.ggml.tokens", Strs(tokens), "the limit is 1024");
  const std::string types = "tokenizer.ggml.token_type";
  list.Set("types_short", types, Array<int32_t>(5, {1, 1}), "has 2 elements for 261 tokens");
  list.Set("types_of_floats", types, Array(6, std::vector<float>(kTinyVocab, 1)), types,
           kWrongKind);
  for (const int32_t type : {-1, 7}) {
    list.Set(absl::StrCat("types_", type), types, Array(5, std::vector<int32_t>(kTinyVocab, type)),
             absl::StrCat("unknown type ", type, " of token 0"));
  }
  for (const char* merge : {"he", "", " he", "h ", "zz h", "h e l"}) {
    list.Set(absl::StrCat("merge_'", merge, "'"), "tokenizer.ggml.merges", Strs({"h e", merge}),
             "merge 1 ");
  }
  for (const char* name : {"bos", "eos", "eot", "eom"}) {
    const std::string key = absl::StrCat("tokenizer.ggml.", name, "_token_id");
    for (const uint32_t id : {kTinyVocab, 0xffffffffu}) {
      list.Set(absl::StrCat(name, "_", id), key, U32(id), "is beyond the vocabulary of 261");
    }
    list.Set(absl::StrCat(name, "_-1"), key, Value(5, int32_t{-1}), key, kWrongKind);
  }
  // SentencePiece.
  const auto spm = [](std::vector<float> scores, const std::string& byte_token) {
    std::vector<std::string> all = TinyTokens();
    std::vector<int32_t> kinds(kTinyVocab, 1);
    all[0] = byte_token;
    kinds[0] = 6;
    return TinyModel()
        .Set("tokenizer.ggml.model", Str("llama"))
        .Set("tokenizer.ggml.tokens", Strs(all))
        .Set("tokenizer.ggml.token_type", Array(5, kinds))
        .Set("tokenizer.ggml.scores", Array(6, scores));
  };
  const std::vector<float> scores(kTinyVocab, -1);
  list.Add("scores_missing", spm(scores, "<0x00>").Remove("tokenizer.ggml.scores"),
           "tokenizer.ggml.scores", StatusCode::kNotFound);
  list.Add("scores_short", spm({1, 2}, "<0x00>"), "has 2 elements for 261 tokens");
  list.Add("scores_of_ints",
           spm(scores, "<0x00>")
               .Set("tokenizer.ggml.scores", Array(5, std::vector<int32_t>(kTinyVocab, 1))),
           "tokenizer.ggml.scores", kWrongKind);
  list.Add("scores_nan", spm(std::vector<float>(kTinyVocab, NAN), "<0x00>"), "not a number");
  for (const char* token : {"<0x-1>", "<0x100>", "<0xG0>"}) {
    list.Add(absl::StrCat("byte_token_", token), spm(scores, token), "not one of <0x00> to <0xFF>");
  }
}

void AddWeights(List& list) {
  const auto change = [&](const std::string& name, auto&& what, const std::string& message,
                          StatusCode code = StatusCode::kInvalidArgument) {
    GgufWriter w = CompleteModel();
    what(w);
    list.Add(name, w, message, code);
  };
  change(
      "tensor_missing", [](GgufWriter& w) { w.Find("blk.0.ffn_up.weight").name = "blk.0.other"; },
      "tensor blk.0.ffn_up.weight is missing", StatusCode::kNotFound);
  change(
      "tensor_unknown",
      [](GgufWriter& w) { w.AddTensor("blk.0.attn_q.bias", {32}, 0, std::string(128, '\0')); },
      "tensor blk.0.attn_q.bias is no part of", StatusCode::kUnimplemented);
  change(
      "tensor_transposed",
      [](GgufWriter& w) {
        w.Find("blk.0.attn_k.weight").dims = {16, 32};
      },
      "row of 16 is not a multiple of the 32 weights", StatusCode::kDataLoss);
  change(
      "tensor_of_rank_3",
      [](GgufWriter& w) {
        w.Find("blk.0.attn_q.weight").dims = {32, 16, 2};
      },
      "tensor blk.0.attn_q.weight has shape [32, 16");
  change(
      "tensor_too_narrow", [](GgufWriter& w) { w.Find("blk.0.ffn_norm.weight").dims = {16}; },
      "tensor blk.0.ffn_norm.weight has shape [16, 1]; the model needs [32, 1]");
  change(
      "norm_of_f16", [](GgufWriter& w) { w.Find("blk.0.ffn_norm.weight").type = 1; },
      "tensor blk.0.ffn_norm.weight is of type f16; expected f32", StatusCode::kUnimplemented);
  for (const uint32_t type : {24u, 28u}) {  // i8, f64
    change(
        absl::StrCat("matrix_of_type_", type),
        [&](GgufWriter& w) {
          w.Find("blk.0.ffn_down.weight").type = type;
          w.data_bytes = 1 << 13;  // enough for it
          w.Find("blk.0.ffn_down.weight").offset = w.data.size();
        },
        "tensor blk.0.ffn_down.weight", StatusCode::kUnimplemented);
  }
  change(
      "more_blocks_than_tensors", [](GgufWriter& w) { w.Set("llama.block_count", U32(2)); },
      "tensor blk.1.attn_norm.weight is missing", StatusCode::kNotFound);
  const auto factors = [](GgufWriter& w, const std::vector<float>& values) {
    std::string bytes;
    for (const float value : values) bytes += Raw(value);
    w.AddTensor("rope_freqs.weight", {values.size()}, 0, bytes);
  };
  change(
      "rope_factors_too_few",
      [&](GgufWriter& w) {
        factors(w, {1, 1, 1});
      },
      "tensor rope_freqs.weight has 3 elements");
  for (const float bad : {0.0f, -1.0f, NAN, INFINITY}) {
    change(
        absl::StrCat("rope_factor_", bad),
        [&](GgufWriter& w) {
          factors(w, {1, 1, 1, bad});
        },
        "rope_freqs.weight holds ", StatusCode::kDataLoss);
  }
}

void AddChat(List& list) {
  constexpr absl::string_view kKey = "tokenizer.chat_template";
  for (const char* text : {"{% for x in range(1000000000) %}{% endfor %}", "{{ self.__init__ }}",
                           "{{ x | unknown }}", "{%"}) {
    list.Set(absl::StrCat("template_", absl::string_view(text).substr(0, 6)), std::string(kKey),
             Str(text), "is not one of the known kinds", StatusCode::kUnimplemented);
  }
  list.Set("template_of_1_MB", std::string(kKey), Str(std::string(1 << 20, '{')),
           "is not one of the known kinds", StatusCode::kUnimplemented);
  list.Set("template_u32", std::string(kKey), U32(1), std::string(kKey),
           StatusCode::kInvalidArgument);
}

}  // namespace

std::vector<HostileFile> HostileFiles() {
  List list;
  AddHeaders(list);
  AddStrings(list);
  AddValues(list);
  AddTensors(list);
  AddShapes(list);
  AddTokenizers(list);
  AddChat(list);
  AddWeights(list);
  return std::move(list.files);
}

absl::Status OpenAll(absl::Span<const uint8_t> bytes) {
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(bytes));
  PTXSMITH_ASSIGN_OR_RETURN(const ModelConfig config, ModelConfig::FromGguf(file));
  PTXSMITH_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::Create(file));
  PTXSMITH_ASSIGN_OR_RETURN(
      const std::vector<TokenId> ids,
      tokenizer.Encode("hello<br> w\xc3\xb6rld\xff<|end|>", {.parse_special = true}));
  tokenizer.Decode(ids);
  const absl::StatusOr<ChatTemplate> chat = ChatTemplate::FromGguf(file);
  if (!chat.ok() && !absl::IsNotFound(chat.status())) return chat.status();
  return Weights::Check(file, config);
}

}  // namespace ptxsmith
