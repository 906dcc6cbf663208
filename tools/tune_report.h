// What `ptxsmith tune --report` writes: one page, with nothing to load from elsewhere, that shows
// what was tried for each matrix, what won and by how much, and how near it comes to the roof.
//
//   PTXSMITH_RETURN_IF_ERROR(WriteFile("tune.html", TuneReport(profile, results)));
//
// A pure function.
#ifndef PTXSMITH_TOOLS_TUNE_REPORT_H_
#define PTXSMITH_TOOLS_TUNE_REPORT_H_

#include <string>
#include <vector>

#include "model/gpu_profile.h"
#include "tools/tuner.h"

namespace ptxsmith {

std::string TuneReport(const GpuProfile& profile, const std::vector<TuningResult>& results);

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_TUNE_REPORT_H_
