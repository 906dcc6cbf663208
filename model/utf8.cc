#include "model/utf8.h"

#include <algorithm>
#include <cstdint>

namespace ptxsmith {
namespace {

// Bytes in the sequence that starts with `lead`; 0 when no sequence does.
size_t SequenceLength(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;  // a continuation byte, or an overlong form of two bytes
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0;
}

bool IsContinuation(uint8_t byte) { return (byte & 0xc0) == 0x80; }

// The second byte carries the limits that the lead byte cannot: Unicode standard, table 3-7.
bool IsSecond(uint8_t lead, uint8_t second) {
  if (!IsContinuation(second)) return false;
  switch (lead) {
    case 0xe0:
      return second >= 0xa0;
    case 0xed:
      return second < 0xa0;
    case 0xf0:
      return second >= 0x90;
    case 0xf4:
      return second < 0x90;
    default:
      return true;
  }
}

uint8_t ByteAt(absl::string_view text, size_t i) { return static_cast<uint8_t>(text[i]); }

}  // namespace

size_t FirstCharacter(absl::string_view text) {
  if (text.empty()) return 0;
  const uint8_t lead = ByteAt(text, 0);
  const size_t length = SequenceLength(lead);
  if (length > text.size()) return 0;
  if (length > 1 && !IsSecond(lead, ByteAt(text, 1))) return 0;
  for (size_t i = 2; i < length; ++i) {
    if (!IsContinuation(ByteAt(text, i))) return 0;
  }
  return length;
}

size_t ValidUtf8Prefix(absl::string_view text) {
  size_t pos = 0;
  while (const size_t length = FirstCharacter(text.substr(pos))) pos += length;
  return pos;
}

size_t IncompleteUtf8Suffix(absl::string_view text) {
  for (size_t have = 1; have <= std::min<size_t>(3, text.size()); ++have) {
    const size_t start = text.size() - have;
    const uint8_t lead = ByteAt(text, start);
    if (IsContinuation(lead)) continue;
    if (have >= SequenceLength(lead)) return 0;
    return have == 1 || IsSecond(lead, ByteAt(text, start + 1)) ? have : 0;
  }
  return 0;
}

}  // namespace ptxsmith
