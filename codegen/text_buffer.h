// Text that is made of many short pieces: what the printer writes into. A piece goes to a fixed
// buffer and the buffer, when full, to the string; appending a million pieces to the string itself
// took twice the time.
//
//   TextBuffer text;
//   text.Put("add.u32 %r");
//   text.PutNumber(7);
//   std::string line = text.Take();
//
// Not thread-safe.
#ifndef PTXSMITH_CODEGEN_TEXT_BUFFER_H_
#define PTXSMITH_CODEGEN_TEXT_BUFFER_H_

#include <charconv>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace ptxsmith {

class TextBuffer {
 public:
  TextBuffer() = default;
  TextBuffer(const TextBuffer&) = delete;
  TextBuffer& operator=(const TextBuffer&) = delete;

  void Put(char c) { *Room(1) = c; }
  // A literal, whose length the compiler knows.
  template <size_t N>
  void Put(const char (&literal)[N]) {
    static_assert(N <= sizeof(buffer_));
    std::memcpy(Room(N - 1), literal, N - 1);
  }
  void Put(absl::string_view text) {
    if (text.size() <= sizeof(buffer_)) {
      std::memcpy(Room(text.size()), text.data(), text.size());
    } else {
      Flush();
      text_.append(text.data(), text.size());
    }
  }
  template <class Number>
  void PutNumber(Number value, int base = 10) {
    constexpr size_t kMostDigits = 24;
    char* const begin = Room(kMostDigits);
    const char* const end = std::to_chars(begin, begin + kMostDigits, value, base).ptr;
    used_ -= kMostDigits - static_cast<size_t>(end - begin);
  }

  // What was put, which is then gone from here.
  std::string Take() {
    Flush();
    return std::exchange(text_, {});
  }

 private:
  // Where the next `bytes`, at most those of the buffer, go.
  char* Room(size_t bytes) {
    if (sizeof(buffer_) - used_ < bytes) Flush();
    char* const room = buffer_ + used_;
    used_ += bytes;
    return room;
  }
  void Flush() {
    text_.append(buffer_, used_);
    used_ = 0;
  }

  std::string text_;
  size_t used_ = 0;
  char buffer_[4096];
};

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_TEXT_BUFFER_H_
