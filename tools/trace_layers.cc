#include "tools/trace_layers.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

double RootMeanSquare(const std::vector<float>& values) {
  double squares = 0;
  for (const float v : values) squares += double{v} * v;
  return std::sqrt(squares / static_cast<double>(std::max<size_t>(values.size(), 1)));
}

bool SameBits(float a, float b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

}  // namespace

std::string TracedStage::Name() const {
  if (layer < 0) return absl::StrCat("position ", position, ", ", stage);
  return absl::StrCat("position ", position, ", layer ", layer, ", ", stage);
}

absl::StatusOr<LayerTrace> TraceLayers(Transformer& model, absl::Span<const TokenId> tokens) {
  LayerTrace trace;
  model.Reset();
  model.SetObserver([&](const StepKernel& kernel, absl::Span<const float> result) {
    if (!result.empty()) {
      trace.push_back({model.length(),
                       kernel.layer,
                       std::string(kernel.stage),
                       {result.begin(), result.end()}});
    }
    return absl::OkStatus();
  });
  absl::Status status;
  for (const TokenId token : tokens) {
    status = model.Step(token, /*want_logits=*/true);
    if (!status.ok()) break;
  }
  model.SetObserver(nullptr);
  PTXSMITH_RETURN_IF_ERROR(status);
  return trace;
}

std::string Describe(const LayerTrace& trace) {
  std::string text;
  for (const TracedStage& stage : trace) {
    float largest = 0;
    for (const float v : stage.values) largest = std::max(largest, std::fabs(v));
    absl::StrAppendFormat(&text, "%-44s %8d values, rms %.6g, largest %.6g\n", stage.Name(),
                          stage.values.size(), RootMeanSquare(stage.values), largest);
  }
  return text;
}

std::string Compare(const LayerTrace& a, const LayerTrace& b) {
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    if (i >= a.size() || i >= b.size()) {
      return absl::StrCat("only one of them has ", i < a.size() ? a[i].Name() : b[i].Name());
    }
    if (a[i].Name() != b[i].Name() || a[i].values.size() != b[i].values.size()) {
      return absl::StrFormat("different stages: %s (%d values) and %s (%d values)", a[i].Name(),
                             a[i].values.size(), b[i].Name(), b[i].values.size());
    }
    double worst = 0;
    size_t first = a[i].values.size();
    for (size_t j = a[i].values.size(); j-- > 0;) {
      if (SameBits(a[i].values[j], b[i].values[j])) continue;
      first = j;
      worst = std::max(worst, std::fabs(double{a[i].values[j]} - b[i].values[j]));
    }
    if (first == a[i].values.size()) continue;
    return absl::StrFormat(
        "first difference: %s, element %d: %.9g and %.9g; the stage differs by at most %.3g, its "
        "rms is %.3g",
        a[i].Name(), first, a[i].values[first], b[i].values[first], worst,
        RootMeanSquare(a[i].values));
  }
  return absl::StrCat("the same bits in all ", a.size(), " stages");
}

}  // namespace ptxsmith
