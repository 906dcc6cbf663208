// Reading the test data of the source tree. A missing file fails the test that asks for it. A test
// program that runs on another machine than it was built on finds the tree through the environment
// variable PTXSMITH_SOURCE_DIR.
//
//   std::string text = ReadTestFile("data/eval.txt");   // relative to tests/
#ifndef PTXSMITH_TESTS_UTIL_FILES_H_
#define PTXSMITH_TESTS_UTIL_FILES_H_

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "gtest/gtest.h"

namespace ptxsmith {

inline std::string TestPath(const std::string& name) {
  const char* moved = std::getenv("PTXSMITH_SOURCE_DIR");
  return std::string(moved != nullptr ? moved : PTXSMITH_SOURCE_DIR) + "/tests/" + name;
}

// The whole file; on failure empty, with a failure of the running test.
inline std::string ReadTestFile(const std::string& name) {
  std::ifstream file(TestPath(name), std::ios::binary);
  EXPECT_TRUE(file.good()) << "cannot open " << TestPath(name);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace ptxsmith

#endif  // PTXSMITH_TESTS_UTIL_FILES_H_
