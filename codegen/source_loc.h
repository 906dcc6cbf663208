// A place in C++ source. clang 14 with libstdc++ 12 has no std::source_location; the builtins it is
// made of exist in both compilers.
//
//   void Add(Val a, SourceLoc loc = SourceLoc::Here());
#ifndef PTXSMITH_CODEGEN_SOURCE_LOC_H_
#define PTXSMITH_CODEGEN_SOURCE_LOC_H_

#include <cstdint>

namespace ptxsmith {

struct SourceLoc {
  const char* file = "";  // as the compiler was given it; static storage
  uint32_t line = 0;      // 1-based; 0: unknown

  static constexpr SourceLoc Here(const char* file = __builtin_FILE(),
                                  uint32_t line = __builtin_LINE()) {
    return {file, line};
  }
};

// The last path component: "gemv.cc".
constexpr const char* BaseName(const char* path) {
  const char* base = path;
  for (const char* p = path; *p != '\0'; ++p) {
    if (*p == '/') base = p + 1;
  }
  return base;
}

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_SOURCE_LOC_H_
