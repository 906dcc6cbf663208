#include "model/bpe.h"

#include <queue>
#include <string>
#include <tuple>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

// The character that spells `byte`: itself where it is printable in Latin-1, else the next one from
// U+0100 on.
constexpr std::array<uint16_t, 256> MakeSpelling() {
  std::array<uint16_t, 256> spelling = {};
  uint16_t next = 0x100;
  for (uint16_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
    spelling[b] = printable ? b : next++;
  }
  return spelling;
}
constexpr std::array<uint16_t, 256> kSpelling = MakeSpelling();
constexpr uint16_t kSpellingEnd = 0x144;  // one past the last character in use

constexpr std::array<int16_t, kSpellingEnd> MakeInverse() {
  std::array<int16_t, kSpellingEnd> inverse = {};
  for (int16_t& byte : inverse) byte = -1;
  for (int16_t b = 0; b < 256; ++b) inverse[kSpelling[b]] = b;
  return inverse;
}
constexpr std::array<int16_t, kSpellingEnd> kInverse = MakeInverse();

uint64_t PairKey(TokenId left, TokenId right) { return uint64_t{left} << 32 | right; }

// A token of the word being merged, in a doubly linked list over array indices.
struct Symbol {
  TokenId id;
  uint32_t prev;
  uint32_t next;
};
constexpr uint32_t kNone = UINT32_MAX;

// A merge that was possible when it was queued; it is stale once one of its tokens changed.
struct Candidate {
  uint32_t rank;
  uint32_t left;  // index of the symbol
  TokenId left_id;
  TokenId right_id;

  // For std::priority_queue, whose top is the greatest: lowest rank first, then leftmost.
  bool operator<(const Candidate& o) const {
    return std::tie(rank, left) > std::tie(o.rank, o.left);
  }
};

}  // namespace

std::string SpellByte(uint8_t byte) {
  const uint16_t c = kSpelling[byte];
  if (c < 0x80) return std::string(1, static_cast<char>(c));
  return {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
}

std::string UnspellBytes(absl::string_view spelled, bool* exact) {
  std::string bytes;
  *exact = true;
  for (size_t i = 0; i < spelled.size(); ++i) {
    const auto lead = static_cast<uint8_t>(spelled[i]);
    uint32_t c = lead;
    // Only characters of two bytes occur in the table; anything longer passes through bytewise.
    const bool two_bytes = lead >= 0xc2 && lead < 0xe0 && i + 1 < spelled.size();
    if (two_bytes) c = (lead & 0x1f) << 6 | (static_cast<uint8_t>(spelled[i + 1]) & 0x3f);
    const bool known = (two_bytes || lead < 0x80) && c < kSpellingEnd && kInverse[c] >= 0;
    if (known) {
      bytes.push_back(static_cast<char>(kInverse[c]));
    } else {
      *exact = false;
      bytes.append(spelled.substr(i, two_bytes ? 2 : 1).data(), two_bytes ? 2 : 1);
    }
    if (two_bytes) ++i;
  }
  return bytes;
}

absl::StatusOr<BpeMerger> BpeMerger::Create(
    const absl::flat_hash_map<absl::string_view, TokenId>& ids,
    absl::Span<const absl::string_view> merges) {
  BpeMerger bpe;
  for (int b = 0; b < 256; ++b) {
    if (const auto it = ids.find(SpellByte(b)); it != ids.end()) bpe.byte_ids_[b] = it->second;
  }
  std::string joined;
  bpe.merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const absl::string_view merge = merges[rank];
    const auto broken = [&](absl::string_view problem) {
      return absl::DataLossError(absl::StrCat("tokenizer.ggml.merges: merge ", rank, " '",
                                              absl::Utf8SafeCHexEscape(merge.substr(0, 80)), "' ",
                                              problem));
    };
    const size_t space = merge.find(' ', 1);
    if (space == absl::string_view::npos) return broken("has no space between its tokens");
    const absl::string_view left = merge.substr(0, space);
    const absl::string_view right = merge.substr(space + 1);
    joined.assign(left.data(), left.size());
    joined.append(right.data(), right.size());
    const auto left_it = ids.find(left);
    const auto right_it = ids.find(right);
    const auto joined_it = ids.find(joined);
    if (left_it == ids.end() || right_it == ids.end() || joined_it == ids.end()) {
      return broken("takes or makes a token that the vocabulary lacks");
    }
    // Of a pair that is listed twice the lower rank counts.
    bpe.merges_.emplace(PairKey(left_it->second, right_it->second),
                        Merge{static_cast<uint32_t>(rank), joined_it->second});
  }
  return bpe;
}

const BpeMerger::Merge* BpeMerger::Find(TokenId left, TokenId right) const {
  const auto it = merges_.find(PairKey(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

absl::Status BpeMerger::Encode(absl::string_view word, std::vector<TokenId>* ids) const {
  if (word.size() >= kNone) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer: word of ", word.size(), " bytes; the limit is ", kNone - 1));
  }
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (uint32_t i = 0; i < word.size(); ++i) {
    const auto byte = static_cast<uint8_t>(word[i]);
    if (!byte_ids_[byte]) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer: the vocabulary has no token for byte ", byte));
    }
    symbols.push_back({*byte_ids_[byte], i == 0 ? kNone : i - 1, i + 1});
  }
  if (symbols.empty()) return absl::OkStatus();
  symbols.back().next = kNone;

  std::priority_queue<Candidate> queue;
  const auto consider = [&](uint32_t left) {
    if (left == kNone || symbols[left].next == kNone) return;
    const TokenId a = symbols[left].id;
    const TokenId b = symbols[symbols[left].next].id;
    if (const Merge* merge = Find(a, b)) queue.push({merge->rank, left, a, b});
  };
  for (uint32_t i = 0; i < symbols.size(); ++i) consider(i);

  // A symbol that was merged into its left neighbour; no vocabulary has so many tokens.
  constexpr TokenId kMerged = UINT32_MAX;
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    Symbol& left = symbols[c.left];
    if (left.id != c.left_id || left.next == kNone || symbols[left.next].id != c.right_id) continue;
    Symbol& right = symbols[left.next];
    left.id = Find(c.left_id, c.right_id)->result;
    left.next = right.next;
    right.id = kMerged;
    if (left.next != kNone) symbols[left.next].prev = c.left;
    consider(left.prev);
    consider(c.left);
  }
  for (uint32_t i = 0; i != kNone; i = symbols[i].next) ids->push_back(symbols[i].id);
  return absl::OkStatus();
}

}  // namespace ptxsmith
