// Which instruction needs which architecture and which PTX version: the one table behind the
// printed
// `.version` and the refusal of kernels a target cannot run.
#ifndef PTXSMITH_CODEGEN_FEATURES_H_
#define PTXSMITH_CODEGEN_FEATURES_H_

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "codegen/target.h"

namespace ptxsmith {

struct Feature {
  absl::string_view prefix;  // of the mnemonic; the longest match counts
  int min_sm = 0;
  PtxVersion min_version;
  bool specific = false;  // only targets such as sm_90a have it
  int last_sm = 0;        // ... up to this one; 0: no later one has dropped it
};

// The needs of an instruction such as "shfl.sync.bfly.b32". Instructions outside the table need
// nothing beyond what every target here has (PTX 5.0, sm_61).
Feature FeatureOf(absl::string_view mnemonic);

// The whole table.
absl::Span<const Feature> AllFeatures();

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_FEATURES_H_
