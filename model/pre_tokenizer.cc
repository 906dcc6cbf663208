#include "model/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "codegen/status_macros.h"
#include "model/utf8.h"

namespace ptxsmith {
namespace {

// The patterns of the models' own tokenizers. The case-insensitive contractions of llama 3 and qwen
// 2 are spelled out, as in llama.cpp: (?i) would also match U+017F for s.
constexpr absl::string_view kGpt2 =
    R"re('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)re";
constexpr absl::string_view kLlama3 =
    R"re('[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])re"
    R"re(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr absl::string_view kQwen2 =
    R"re('[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])re"
    R"re(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
// Words change where a capital follows a small letter; marks belong to letters.
constexpr absl::string_view kTekken =
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)re"
    R"re(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)re"
    R"re(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
// Digits are split off one by one before the rest is split as GPT-2 does: a space before a digit is
// at the end of its part, hence the [^\s\p{N}] for GPT-2's \S.
constexpr absl::string_view kSmolLm =
    R"re(\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+)re";

struct PreRow {
  absl::string_view name;
  absl::string_view pattern;
  bool ignore_merges;
  bool add_bos;
};

constexpr PreRow kPreTable[] = {
    {"gpt-2", kGpt2, false, false},
    {"phi-2", kGpt2, false, false},
    {"llama3", kLlama3, true, true},
    {"llama-v3", kLlama3, true, true},
    {"llama-bpe", kLlama3, true, true},
    {"qwen2", kQwen2, false, false},
    {"deepseek-r1-qwen", kQwen2, false, false},
    {"tekken", kTekken, true, true},
    {"smollm", kSmolLm, false, false},
};

// Backtracking steps of one match. Splitting a run of n spaces takes n; a pattern of the table that
// needs more than this is stuck in a text of more than 100 MB without a word.
constexpr uint32_t kMatchLimit = 100'000'000;

std::string ErrorText(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

template <auto kFree>
struct Freer {
  template <class T>
  void operator()(T* p) const {
    kFree(p);
  }
};
using MatchData = std::unique_ptr<pcre2_match_data, Freer<pcre2_match_data_free>>;

}  // namespace

class PreTokenizer::Pattern {
 public:
  // The bytes of the match at the start of `text`, which is UTF-8; 0 when there is none.
  absl::StatusOr<size_t> MatchLength(pcre2_match_data* data, absl::string_view text,
                                     size_t start) const {
    // The text was checked once, so PCRE2 need not walk all of it again for every word.
    constexpr uint32_t kOptions = PCRE2_NO_UTF_CHECK | PCRE2_ANCHORED;
    const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    int rc = pcre2_match(code.get(), subject, text.size(), start, kOptions, data, limits.get());
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its stack on the heap
      rc = pcre2_match(code.get(), subject, text.size(), start, kOptions | PCRE2_NO_JIT, data,
                       limits.get());
    }
    if (rc == PCRE2_ERROR_NOMATCH) return 0;
    if (rc < 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat("tokenizer: splitting at byte ", start, ": ", ErrorText(rc)));
    }
    const size_t* range = pcre2_get_ovector_pointer(data);
    return range[1] - range[0];
  }

  std::unique_ptr<pcre2_code, Freer<pcre2_code_free>> code;
  std::unique_ptr<pcre2_match_context, Freer<pcre2_match_context_free>> limits;
};

PreTokenizer::PreTokenizer(std::unique_ptr<const Pattern> pattern, bool ignore_merges, bool add_bos)
    : pattern_(std::move(pattern)), ignore_merges_(ignore_merges), add_bos_(add_bos) {}
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

absl::StatusOr<PreTokenizer> PreTokenizer::Create(absl::string_view name) {
  const auto* row = std::find_if(std::begin(kPreTable), std::end(kPreTable),
                                 [&](const PreRow& r) { return r.name == name; });
  if (row == std::end(kPreTable)) {
    const auto append_name = [](std::string* out, const PreRow& r) {
      absl::StrAppend(out, r.name);
    };
    return absl::UnimplementedError(
        absl::StrCat("tokenizer.ggml.pre = '", name,
                     "' is not supported; known: ", absl::StrJoin(kPreTable, ", ", append_name)));
  }
  auto pattern = std::make_unique<Pattern>();
  int error = 0;
  size_t error_at = 0;
  pattern->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(row->pattern.data()),
                                    row->pattern.size(), PCRE2_UTF | PCRE2_UCP, &error, &error_at,
                                    nullptr));
  if (pattern->code == nullptr) {
    return absl::InternalError(
        absl::StrCat("pattern of '", name, "', byte ", error_at, ": ", ErrorText(error)));
  }
  pcre2_jit_compile(pattern->code.get(), PCRE2_JIT_COMPLETE);  // optional: absent on some machines
  pattern->limits.reset(pcre2_match_context_create(nullptr));
  if (pattern->limits == nullptr) return absl::ResourceExhaustedError("PCRE2: out of memory");
  pcre2_set_match_limit(pattern->limits.get(), kMatchLimit);
  return PreTokenizer(std::move(pattern), row->ignore_merges, row->add_bos);
}

absl::Status PreTokenizer::Split(absl::string_view text,
                                 absl::FunctionRef<void(absl::string_view)> word) const {
  const MatchData data(pcre2_match_data_create_from_pattern(pattern_->code.get(), nullptr));
  if (data == nullptr) return absl::ResourceExhaustedError("PCRE2: out of memory");
  while (!text.empty()) {
    const absl::string_view valid = text.substr(0, ValidUtf8Prefix(text));
    size_t pos = 0;
    while (pos < valid.size()) {
      PTXSMITH_ASSIGN_OR_RETURN(const size_t length, pattern_->MatchLength(data.get(), valid, pos));
      // Every pattern ends in alternatives that take any character; stay finite regardless.
      if (length == 0) return absl::InternalError("tokenizer: the split pattern matches nothing");
      word(valid.substr(pos, length));
      pos += length;
    }
    text.remove_prefix(valid.size());

    size_t invalid = 0;
    while (invalid < text.size() && ValidUtf8Prefix(text.substr(invalid, 4)) == 0) ++invalid;
    if (invalid > 0) word(text.substr(0, invalid));
    text.remove_prefix(invalid);
  }
  return absl::OkStatus();
}

}  // namespace ptxsmith
