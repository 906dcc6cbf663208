// The questions about UTF-8 that the model room asks of untrusted bytes. Used by the GGUF
// reader and the tokenizer. Pure functions, thread-safe.
//
//   ValidUtf8Prefix("ab\xff")        -> 2
//   IncompleteUtf8Suffix("a\xf0\x9f") -> 2   // an emoji cut after two of its four bytes
#ifndef PTXSMITH_MODEL_UTF8_H_
#define PTXSMITH_MODEL_UTF8_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace ptxsmith {

// Length of the longest prefix that is well-formed UTF-8 (no overlong forms, no surrogates, nothing
// above U+10FFFF).
size_t ValidUtf8Prefix(absl::string_view text);

// Bytes of the character that `text` begins with; 0 when it begins with none, as by
// ValidUtf8Prefix.
size_t FirstCharacter(absl::string_view text);

// Number of bytes at the end (0 to 3) that begin a sequence which more bytes may complete.
size_t IncompleteUtf8Suffix(absl::string_view text);

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_UTF8_H_
