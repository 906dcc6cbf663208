#include "model/spm.h"

#include <algorithm>
#include <cmath>
#include <queue>
#include <tuple>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "model/utf8.h"

namespace ptxsmith {
namespace {

constexpr absl::string_view kSpace = "\xe2\x96\x81";

// A part of the text, in a doubly linked list over array indices. Empty: merged into another.
struct Symbol {
  absl::string_view text;
  uint32_t prev;
  uint32_t next;
};
constexpr uint32_t kNone = UINT32_MAX;

// A merge that was possible when it was queued; it is stale once its symbols changed.
struct Candidate {
  float score;
  uint32_t left;  // index of the symbol
  size_t bytes;   // of the result

  // For std::priority_queue, whose top is the greatest: highest score first, then leftmost.
  bool operator<(const Candidate& o) const {
    return std::tie(score, o.left) < std::tie(o.score, left);
  }
};

}  // namespace

std::string SpellSpaces(absl::string_view text) {
  return absl::StrReplaceAll(text, {{" ", kSpace}});
}
std::string UnspellSpaces(absl::string_view spelled) {
  return absl::StrReplaceAll(spelled, {{kSpace, " "}});
}

std::optional<uint8_t> ByteOfToken(absl::string_view token) {
  if (token.size() != 6 || !absl::StartsWith(token, "<0x") || token[5] != '>' ||
      !absl::ascii_isxdigit(static_cast<unsigned char>(token[3])) ||
      !absl::ascii_isxdigit(static_cast<unsigned char>(token[4]))) {
    return std::nullopt;
  }
  return static_cast<uint8_t>(absl::HexStringToBytes(token.substr(3, 2))[0]);
}

absl::StatusOr<SpmMerger> SpmMerger::Create(absl::Span<const absl::string_view> tokens,
                                            absl::Span<const float> scores,
                                            absl::Span<const TokenType> types) {
  SpmMerger spm;
  spm.pieces_.reserve(tokens.size());
  for (TokenId id = 0; id < tokens.size(); ++id) {
    const absl::string_view token = tokens[id];
    const auto broken = [&](absl::string_view problem) {
      return absl::DataLossError(absl::StrCat("tokenizer.ggml.tokens: token ", id, " '",
                                              absl::Utf8SafeCHexEscape(token.substr(0, 80)), "' ",
                                              problem));
    };
    if (types[id] == TokenType::kByte) {
      const std::optional<uint8_t> byte = ByteOfToken(token);
      if (!byte) return broken("is a byte token but not one of <0x00> to <0xFF>");
      if (spm.byte_ids_[*byte]) return broken("repeats the token of its byte");
      spm.byte_ids_[*byte] = id;
      continue;
    }
    if (types[id] == TokenType::kControl || types[id] == TokenType::kUnknown) continue;
    if (token.empty()) continue;  // a placeholder
    if (std::isnan(scores[id])) return broken("has a score that is not a number");
    const auto [it, is_new] = spm.pieces_.emplace(token, Piece{id, scores[id]});
    if (!is_new) return broken(absl::StrCat("repeats token ", it->second.id));
    spm.longest_ = std::max(spm.longest_, token.size());
  }
  return spm;
}

absl::Status SpmMerger::Encode(absl::string_view text, std::vector<TokenId>* ids) const {
  const std::string spelled = SpellSpaces(text);
  if (spelled.size() >= kNone) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer: text of ", spelled.size(), " bytes; the limit is ", kNone - 1));
  }
  std::vector<Symbol> symbols;
  for (absl::string_view rest = spelled; !rest.empty();) {
    // Whole characters; a byte that is no part of one stands alone.
    const size_t bytes = std::max<size_t>(1, FirstCharacter(rest));
    const auto i = static_cast<uint32_t>(symbols.size());
    symbols.push_back({rest.substr(0, bytes), i == 0 ? kNone : i - 1, i + 1});
    rest.remove_prefix(bytes);
  }
  if (symbols.empty()) return absl::OkStatus();
  symbols.back().next = kNone;

  std::priority_queue<Candidate> queue;
  const auto joined = [&](const Symbol& left) {
    // Neighbours in the list are neighbours in the text.
    return absl::string_view(left.text.data(), left.text.size() + symbols[left.next].text.size());
  };
  const auto consider = [&](uint32_t left) {
    if (left == kNone || symbols[left].next == kNone) return;
    const absl::string_view both = joined(symbols[left]);
    if (both.size() > longest_) return;
    if (const auto it = pieces_.find(both); it != pieces_.end()) {
      queue.push({it->second.score, left, both.size()});
    }
  };
  for (uint32_t i = 0; i < symbols.size(); ++i) consider(i);

  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    Symbol& left = symbols[c.left];
    if (left.text.empty() || left.next == kNone) continue;
    const absl::string_view both = joined(left);
    if (both.size() != c.bytes) continue;
    Symbol& right = symbols[left.next];
    left.text = both;
    left.next = right.next;
    right.text = {};
    if (left.next != kNone) symbols[left.next].prev = c.left;
    consider(left.prev);
    consider(c.left);
  }

  for (uint32_t i = 0; i != kNone; i = symbols[i].next) {
    if (const auto it = pieces_.find(symbols[i].text); it != pieces_.end()) {
      ids->push_back(it->second.id);
      continue;
    }
    for (const char c : symbols[i].text) {
      const auto byte = static_cast<uint8_t>(c);
      if (!byte_ids_[byte]) {
        return absl::InvalidArgumentError(
            absl::StrCat("tokenizer: the vocabulary has no token for byte ", byte));
      }
      ids->push_back(*byte_ids_[byte]);
    }
  }
  return absl::OkStatus();
}

}  // namespace ptxsmith
