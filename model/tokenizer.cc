#include "model/tokenizer.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/bpe.h"
#include "model/pre_tokenizer.h"
#include "model/spm.h"
#include "model/utf8.h"

namespace ptxsmith {
namespace {

// Byte-level BPE: split into words, then merge inside each.
class BpeEncoder : public TextEncoder {
 public:
  // `words`: the bytes of each token that a word may be as a whole; empty: none may.
  BpeEncoder(PreTokenizer splitter, BpeMerger merger,
             absl::flat_hash_map<std::string, TokenId> words)
      : splitter_(std::move(splitter)), merger_(std::move(merger)), words_(std::move(words)) {}

  absl::Status Encode(absl::string_view text, std::vector<TokenId>* ids) const override {
    absl::Status first_error;
    const absl::Status split = splitter_.Split(text, [&](absl::string_view word) {
      if (const auto it = words_.find(word); it != words_.end()) {
        ids->push_back(it->second);
      } else {
        first_error.Update(merger_.Encode(word, ids));
      }
    });
    first_error.Update(split);
    return first_error;
  }

 private:
  PreTokenizer splitter_;
  BpeMerger merger_;
  absl::flat_hash_map<std::string, TokenId> words_;
};

// SentencePiece: merged as one piece.
class SpmEncoder : public TextEncoder {
 public:
  explicit SpmEncoder(SpmMerger merger) : merger_(std::move(merger)) {}

  absl::Status Encode(absl::string_view text, std::vector<TokenId>* ids) const override {
    return merger_.Encode(text, ids);
  }

 private:
  SpmMerger merger_;
};

absl::StatusOr<std::vector<TokenType>> ReadTypes(const GgufFile& file, size_t tokens) {
  constexpr absl::string_view kKey = "tokenizer.ggml.token_type";
  if (file.FindEntry(kKey) == nullptr) return std::vector<TokenType>(tokens, TokenType::kNormal);
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<int64_t> stored, file.GetInts(kKey));
  if (stored.size() != tokens) {
    return absl::DataLossError(
        absl::StrCat(kKey, " has ", stored.size(), " elements for ", tokens, " tokens"));
  }
  std::vector<TokenType> types;
  types.reserve(tokens);
  for (const int64_t type : stored) {
    if (type < 0 || type > static_cast<int64_t>(TokenType::kByte)) {
      return absl::DataLossError(
          absl::StrCat(kKey, ": unknown type ", type, " of token ", types.size()));
    }
    types.push_back(static_cast<TokenType>(type));
  }
  return types;
}

// What is looked for in text before it is split.
bool IsSpecial(TokenType type) {
  return type == TokenType::kControl || type == TokenType::kUserDefined ||
         type == TokenType::kUnknown;
}

// Control tokens that end an answer under whatever key, or under none: files of chat models often
// name only the base model's end of text.
constexpr absl::string_view kEndNames[] = {"</s>",          "<eos>",           "<end_of_turn>",
                                           "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>",
                                           "<|eom_id|>",    "<|im_end|>",      "<|end|>"};

}  // namespace

absl::StatusOr<Tokenizer> Tokenizer::Create(const GgufFile& file) {
  PTXSMITH_ASSIGN_OR_RETURN(const absl::string_view model, file.GetString("tokenizer.ggml.model"));
  if (model != "gpt2" && model != "llama") {
    return absl::UnimplementedError(absl::StrCat("tokenizer.ggml.model = '",
                                                 absl::CHexEscape(model),
                                                 "' is not supported; known: gpt2, llama"));
  }
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<absl::string_view> tokens,
                            file.GetStrings("tokenizer.ggml.tokens"));
  if (tokens.empty() || tokens.size() >= UINT32_MAX) {
    return absl::DataLossError(
        absl::StrCat("tokenizer.ggml.tokens has ", tokens.size(), " elements"));
  }
  Tokenizer tokenizer;
  PTXSMITH_ASSIGN_OR_RETURN(tokenizer.types_, ReadTypes(file, tokens.size()));
  tokenizer.starts_.reserve(tokens.size() + 1);
  tokenizer.starts_.push_back(0);
  PTXSMITH_RETURN_IF_ERROR(model == "gpt2" ? tokenizer.CreateBpe(file, tokens)
                                           : tokenizer.CreateSpm(file, tokens));
  PTXSMITH_RETURN_IF_ERROR(tokenizer.ReadSpecialIds(file));
  return tokenizer;
}

absl::Status Tokenizer::CreateBpe(const GgufFile& file,
                                  absl::Span<const absl::string_view> tokens) {
  PTXSMITH_ASSIGN_OR_RETURN(const absl::string_view pre, file.GetString("tokenizer.ggml.pre"));
  PTXSMITH_ASSIGN_OR_RETURN(PreTokenizer splitter, PreTokenizer::Create(pre));
  add_bos_ = splitter.add_bos();

  absl::flat_hash_map<absl::string_view, TokenId> ids;  // by stored spelling
  absl::flat_hash_map<std::string, TokenId> words;
  ids.reserve(tokens.size());
  for (TokenId id = 0; id < tokens.size(); ++id) {
    const absl::string_view spelled = tokens[id];
    // Some vocabularies have empty placeholders; they are never the result of encoding.
    if (!spelled.empty() && !ids.emplace(spelled, id).second) {
      return absl::DataLossError(absl::StrCat("tokenizer.ggml.tokens: token ", id, " '",
                                              absl::CHexEscape(spelled.substr(0, 80)),
                                              "' repeats token ", ids[spelled]));
    }
    if (IsSpecial(types_[id])) {
      PTXSMITH_RETURN_IF_ERROR(special_.Add(spelled, types_[id], id));
      AppendPiece(spelled);
    } else {
      bool exact = false;
      std::string bytes = UnspellBytes(spelled, &exact);
      AppendPiece(bytes);
      if (splitter.ignore_merges() && exact) words.emplace(std::move(bytes), id);
    }
  }

  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<absl::string_view> merges,
                            file.GetStrings("tokenizer.ggml.merges"));
  PTXSMITH_ASSIGN_OR_RETURN(BpeMerger merger, BpeMerger::Create(ids, merges));
  encoder_ = std::make_unique<BpeEncoder>(std::move(splitter), std::move(merger), std::move(words));
  return absl::OkStatus();
}

absl::Status Tokenizer::CreateSpm(const GgufFile& file,
                                  absl::Span<const absl::string_view> tokens) {
  constexpr absl::string_view kScores = "tokenizer.ggml.scores";
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<float> scores, file.GetFloats(kScores));
  if (scores.size() != tokens.size()) {
    return absl::DataLossError(
        absl::StrCat(kScores, " has ", scores.size(), " elements for ", tokens.size(), " tokens"));
  }
  PTXSMITH_ASSIGN_OR_RETURN(SpmMerger merger, SpmMerger::Create(tokens, scores, types_));
  for (TokenId id = 0; id < tokens.size(); ++id) {
    if (IsSpecial(types_[id])) {
      PTXSMITH_RETURN_IF_ERROR(special_.Add(tokens[id], types_[id], id));
    }
    if (types_[id] == TokenType::kByte) {  // checked by the merger
      const auto byte = static_cast<char>(*ByteOfToken(tokens[id]));
      AppendPiece({&byte, 1});
    } else {
      AppendPiece(UnspellSpaces(tokens[id]));
    }
  }
  encoder_ = std::make_unique<SpmEncoder>(std::move(merger));
  // SentencePiece's own ids, which files leave out.
  if (size() > 2) {
    bos_ = 1;
    eos_ = 2;
  }
  add_bos_ = true;
  PTXSMITH_ASSIGN_OR_RETURN(space_prefix_,
                            OrDefault(file.GetBool("tokenizer.ggml.add_space_prefix"), true));
  return absl::OkStatus();
}

void Tokenizer::AppendPiece(absl::string_view bytes) {
  text_.insert(text_.end(), bytes.begin(), bytes.end());
  starts_.push_back(text_.size());
}

absl::Status Tokenizer::ReadSpecialIds(const GgufFile& file) {
  std::optional<TokenId> eot;
  std::optional<TokenId> eom;
  const struct {
    absl::string_view key;
    std::optional<TokenId>* id;
  } rows[] = {{"tokenizer.ggml.bos_token_id", &bos_},
              {"tokenizer.ggml.eos_token_id", &eos_},
              {"tokenizer.ggml.eot_token_id", &eot},
              {"tokenizer.ggml.eom_token_id", &eom}};
  for (const auto& row : rows) {
    if (file.FindEntry(row.key) == nullptr) continue;
    PTXSMITH_ASSIGN_OR_RETURN(const uint32_t id, file.GetU32(row.key));
    if (id >= size()) {
      return absl::DataLossError(
          absl::StrCat(row.key, " = ", id, " is beyond the vocabulary of ", size(), " tokens"));
    }
    *row.id = id;
  }
  for (const std::optional<TokenId> id : {eos_, eot, eom}) {
    if (id) ends_.insert(*id);
  }
  for (const absl::string_view name : kEndNames) {
    const std::optional<SpecialTokens::Match> match = special_.Find(name, 0, /*control=*/true);
    if (match && match->begin == 0 && match->end == name.size() && IsControl(match->id)) {
      ends_.insert(match->id);
    }
  }
  PTXSMITH_ASSIGN_OR_RETURN(add_bos_,
                            OrDefault(file.GetBool("tokenizer.ggml.add_bos_token"), add_bos_));
  if (add_bos_ && !bos_) {
    return absl::DataLossError("tokenizer.ggml.bos_token_id is absent, and BOS shall be added");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TokenId>> Tokenizer::Encode(absl::string_view text,
                                                       const EncodeOptions& options) const {
  return EncodeParts({{text, options.parse_special}}, options.add_bos);
}

absl::StatusOr<std::vector<TokenId>> Tokenizer::EncodeParts(absl::Span<const TextPart> parts,
                                                            bool add_bos) const {
  std::vector<TokenId> ids;
  if (add_bos && add_bos_) ids.push_back(*bos_);
  std::string plain;  // since the last special token
  const auto flush = [&]() -> absl::Status {
    if (plain.empty()) return absl::OkStatus();
    if (space_prefix_) plain.insert(0, 1, ' ');
    absl::Status status = encoder_->Encode(plain, &ids);
    plain.clear();
    return status;
  };
  for (const TextPart& part : parts) {
    size_t pos = 0;
    while (pos < part.text.size()) {
      const std::optional<SpecialTokens::Match> special =
          special_.Find(part.text, pos, part.special);
      const absl::string_view before = part.text.substr(pos, special ? special->begin - pos : -1);
      plain.append(before.data(), before.size());
      pos += before.size();
      if (special) {
        PTXSMITH_RETURN_IF_ERROR(flush());
        ids.push_back(special->id);
        pos = special->end;
      }
    }
  }
  PTXSMITH_RETURN_IF_ERROR(flush());
  return ids;
}

std::string Tokenizer::Decode(absl::Span<const TokenId> ids) const {
  std::string text;
  for (const TokenId id : ids) {
    if (!IsControl(id)) absl::StrAppend(&text, Piece(id));
  }
  return text;
}

absl::string_view Tokenizer::Piece(TokenId id) const {
  if (id >= size()) return {};
  return absl::string_view(text_.data() + starts_[id], starts_[id + 1] - starts_[id]);
}

bool Tokenizer::IsControl(TokenId id) const {
  return id < size() && types_[id] == TokenType::kControl;
}

bool Tokenizer::IsEnd(TokenId id) const { return ends_.contains(id); }

std::string StreamDecoder::Next(TokenId id) {
  pending_ += tokenizer_.Decode({id});
  const size_t held = IncompleteUtf8Suffix(pending_);
  std::string ready = pending_.substr(0, pending_.size() - held);
  pending_.erase(0, ready.size());
  return ready;
}

std::string StreamDecoder::Finish() { return std::exchange(pending_, {}); }

}  // namespace ptxsmith
