// What every layer and stage of a model computes, and where two devices first differ. Used by
// `ptxsmith run --trace-layers`.
//
//   PTXSMITH_ASSIGN_OR_RETURN(const LayerTrace here, TraceLayers(*model, tokens));
//   PTXSMITH_ASSIGN_OR_RETURN(const LayerTrace there, TraceLayers(*other, tokens));
//   std::puts(Compare(here, there).c_str());
//
// Thread-safety: that of the model. Errors: those of its steps.
#ifndef PTXSMITH_TOOLS_TRACE_LAYERS_H_
#define PTXSMITH_TOOLS_TRACE_LAYERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/transformer.h"

namespace ptxsmith {

struct TracedStage {
  uint32_t position = 0;
  int32_t layer = -1;
  std::string stage;
  std::vector<float> values;

  std::string Name() const;  // "position 3, layer 0, qkv"
};
using LayerTrace = std::vector<TracedStage>;

// Runs the tokens one by one from an empty context.
absl::StatusOr<LayerTrace> TraceLayers(Transformer& model, absl::Span<const TokenId> tokens);

// A line for each stage: its size, root mean square and largest absolute value.
std::string Describe(const LayerTrace& trace);

// The first stage of which a value differs in any bit, with that value and how far apart the two
// are there; or that there is none; or where one trace has a stage that the other has not.
std::string Compare(const LayerTrace& a, const LayerTrace& b);

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_TRACE_LAYERS_H_
