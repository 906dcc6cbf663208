// A step of the model: the kernels that take some tokens from their ids to the next ones, bound and
// in order, each with the part of the model it computes. Made by a Lowering, run by Transformer.
//
//   StepBuilder builder(modules);
//   PTXSMITH_RETURN_IF_ERROR(builder.Add("embedding", BuildEmbedRow, spec, {x, w, tokens}, x));
//   const Step step = std::move(builder).Take();
//   PTXSMITH_RETURN_IF_ERROR(step.Enqueue(stream));
//
// Holds addresses: what it was bound to must outlive it. Thread-safety: as BoundLaunch.
#ifndef PTXSMITH_MODEL_STEP_H_
#define PTXSMITH_MODEL_STEP_H_

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "codegen/status_macros.h"
#include "runtime/dense_gemm.h"
#include "runtime/launch.h"
#include "runtime/module_cache.h"

namespace ptxsmith {

// Of which rows the logits are wanted.
enum class LogitRows : uint8_t { kNone, kLast, kAll };

// What a step computes. Rows are tokens: of one sequence in order, or of several sequences.
struct StepShape {
  uint32_t rows = 1;
  // Each row has the bits it would have alone. Else rows may share tensor cores, whose sums depend
  // on the kernel: faster for many rows.
  bool exact = true;
  LogitRows logits = LogitRows::kAll;
  bool pick = false;  // choose the likeliest token of each row with logits, for the next step

  friend bool operator<(const StepShape& a, const StepShape& b) {
    const auto fields = [](const StepShape& s) {
      return std::tuple(s.rows, s.exact, s.logits, s.pick);
    };
    return fields(a) < fields(b);
  }
};

struct StepKernel {
  BoundLaunch launch;
  int32_t layer = -1;       // -1: before or after the layers
  absl::string_view stage;  // "qkv", a literal
  BufferView result;        // f32 that it wrote, for observers; empty: nothing to look at
  std::optional<BoundGemm> product = std::nullopt;  // instead of the launch: by a library

  absl::Status Enqueue(const Stream& stream) const {
    return product ? ptxsmith::Enqueue(*product, stream) : ptxsmith::Enqueue(launch, stream);
  }
};

class Step {
 public:
  Step() = default;
  explicit Step(std::vector<StepKernel> kernels) : kernels_(std::move(kernels)) {}

  absl::Status Enqueue(const Stream& stream) const {
    for (const StepKernel& kernel : kernels_) {
      PTXSMITH_RETURN_IF_ERROR(kernel.Enqueue(stream));
    }
    return absl::OkStatus();
  }
  const std::vector<StepKernel>& kernels() const { return kernels_; }

  // Lets `more` follow.
  void Append(Step more) {
    std::move(more.kernels_.begin(), more.kernels_.end(), std::back_inserter(kernels_));
  }

 private:
  std::vector<StepKernel> kernels_;
};

class StepBuilder {
 public:
  explicit StepBuilder(ModuleCache& modules) : modules_(modules) {}

  const Target& target() const { return modules_.device()->profile().target; }

  // The layer of what is added from here on; -1: none.
  void SetLayer(int32_t layer) { layer_ = layer; }

  // Appends the kernel of `spec`, from the cache or built.
  template <class Spec>
  absl::Status Add(absl::string_view stage,
                   absl::StatusOr<KernelSpec> (*build)(const Spec&, const Target&),
                   const Spec& spec, absl::Span<const Arg> args, BufferView result) {
    PTXSMITH_ASSIGN_OR_RETURN(
        std::shared_ptr<const Module> module,
        modules_.GetOrBuild(KeyOf(spec, target()), [&] { return build(spec, target()); }));
    PTXSMITH_ASSIGN_OR_RETURN(BoundLaunch launch, Bind(std::move(module), args));
    kernels_.push_back({std::move(launch), layer_, stage, result});
    return absl::OkStatus();
  }

  // Appends a library's product.
  void AddProduct(absl::string_view stage, BoundGemm product, BufferView result) {
    kernels_.push_back({BoundLaunch(), layer_, stage, result, std::move(product)});
  }

  Step Take() && { return Step(std::move(kernels_)); }

 private:
  ModuleCache& modules_;
  int32_t layer_ = -1;
  std::vector<StepKernel> kernels_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_STEP_H_
