// Times a model as llama-bench does: prompts (pp), single tokens one after the other (tg), and both
// with a number of positions already in the context. Used by `ptxsmith bench`.
//
//   PTXSMITH_ASSIGN_OR_RETURN(const double roof, ReadBandwidth(*device));
//   ModelBench bench(*model);
//   PTXSMITH_ASSIGN_OR_RETURN(const std::vector<double> seconds,
//                             bench.Run({.generate = 128}, /*repeats=*/5));
//
// Thread-safety: that of the model. Errors: those of the model and the device.
#ifndef PTXSMITH_TOOLS_MODEL_BENCH_H_
#define PTXSMITH_TOOLS_MODEL_BENCH_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/transformer.h"
#include "runtime/device.h"

namespace ptxsmith {

// Either a prompt or a generation.
struct BenchTest {
  uint32_t prompt = 0;
  uint32_t generate = 0;
  uint32_t depth = 0;      // positions filled before
  uint32_t sequences = 1;  // that generate side by side

  uint32_t tokens() const { return prompt + generate * sequences; }  // in all
  uint32_t positions() const { return depth + prompt + generate; }   // of one sequence, at the end
  std::string Name() const;  // "pp512", "tg128 @ d4096", "tg128 x 8"
};

class ModelBench {
 public:
  explicit ModelBench(Transformer& model) : model_(model) {}

  // The seconds of each of `repeats` runs, after one that warms up.
  absl::StatusOr<std::vector<double>> Run(const BenchTest& test, uint32_t repeats);

  // Seconds of the processor that the host took to enqueue a step of the last Run's generations,
  // on average.
  double HostSecondsPerStep() const { return host_seconds_ / std::max(host_steps_, 1u); }

  // What a step of a generation must read: the weights that take part in it, and the keys and
  // values of the positions before it, in the middle of the test.
  uint64_t BytesPerStep(const BenchTest& test) const;

 private:
  absl::StatusOr<double> RunOnce(const BenchTest& test);
  absl::Status Fill(const BenchTest& test);
  absl::Status Generate(const BenchTest& test);
  std::vector<TokenId> RandomTokens(uint32_t count);

  Transformer& model_;
  uint32_t random_ = 1;
  double host_seconds_ = 0;
  uint32_t host_steps_ = 0;
};

// Bytes per second that a plain reader of a large buffer reaches: the median of some runs.
absl::StatusOr<double> ReadBandwidth(Device& device);

// Mean and standard deviation of a sample; of one value the deviation is 0.
struct Sample {
  double mean = 0;
  double deviation = 0;
};
Sample SampleOf(const std::vector<double>& values);

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_MODEL_BENCH_H_
