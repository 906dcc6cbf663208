// A C locale with a decimal comma while the object lives; tests of text skip where none is
// installed.
//
//   const CommaLocale locale;
//   if (!locale.found()) GTEST_SKIP() << "no locale with a decimal comma is installed";
#ifndef PTXSMITH_TESTS_CODEGEN_COMMA_LOCALE_H_
#define PTXSMITH_TESTS_CODEGEN_COMMA_LOCALE_H_

#include <clocale>
#include <string>

namespace ptxsmith {

class CommaLocale {
 public:
  CommaLocale() : before_(std::setlocale(LC_ALL, nullptr)) {
    for (const char* name : {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "nl_NL.UTF-8"}) {
      found_ = found_ || std::setlocale(LC_ALL, name) != nullptr;
    }
  }
  ~CommaLocale() { std::setlocale(LC_ALL, before_.c_str()); }
  CommaLocale(const CommaLocale&) = delete;
  CommaLocale& operator=(const CommaLocale&) = delete;

  bool found() const { return found_; }

 private:
  std::string before_;
  bool found_ = false;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_TESTS_CODEGEN_COMMA_LOCALE_H_
