// Writes the fuzzer's first inputs into a folder: gguf_seeds FOLDER. They are the hostile files,
// and the valid one behind them.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/model/hostile_files.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: gguf_seeds FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  int count = 0;
  // Numbers for names: the files' own names have slashes, quotes and worse.
  const auto write = [&](const std::string& bytes) {
    std::ofstream(folder / absl::StrCat(count++), std::ios::binary) << bytes;
  };
  write(ptxsmith::CompleteModel().Build());
  for (const ptxsmith::HostileFile& file : ptxsmith::HostileFiles()) write(file.bytes);
  std::printf("%d seeds\n", count);
  return 0;
}
