#include "model/special_tokens.h"

#include "absl/strings/str_cat.h"

namespace ptxsmith {
namespace {

constexpr size_t kMaxBytes = 1024;

uint64_t ChildKey(uint32_t node, char byte) {
  return uint64_t{node} << 8 | static_cast<uint8_t>(byte);
}

}  // namespace

absl::Status SpecialTokens::Add(absl::string_view text, TokenType type, TokenId id) {
  if (text.size() > kMaxBytes) {
    return absl::DataLossError(absl::StrCat("tokenizer.ggml.tokens: special token ", id, " has ",
                                            text.size(), " bytes; the limit is ", kMaxBytes));
  }
  if (text.empty()) return absl::OkStatus();  // a placeholder, never found in text
  uint32_t node = 0;
  for (const char byte : text) {
    const auto [it, is_new] = children_.emplace(ChildKey(node, byte), nodes_.size());
    if (is_new) nodes_.emplace_back();
    node = it->second;
  }
  nodes_[node] = {.id = id, .control = type != TokenType::kUserDefined};
  return absl::OkStatus();
}

std::optional<SpecialTokens::Match> SpecialTokens::Find(absl::string_view text, size_t from,
                                                        bool control) const {
  if (children_.empty()) return std::nullopt;
  for (size_t begin = from; begin < text.size(); ++begin) {
    std::optional<Match> longest;
    uint32_t node = 0;
    for (size_t end = begin; end < text.size(); ++end) {
      const auto it = children_.find(ChildKey(node, text[end]));
      if (it == children_.end()) break;
      node = it->second;
      const Node& reached = nodes_[node];
      if (reached.id && (control || !reached.control)) longest = {begin, end + 1, *reached.id};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

}  // namespace ptxsmith
