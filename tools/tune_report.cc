#include "tools/tune_report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace ptxsmith {
namespace {

constexpr int kBarHeight = 16;
constexpr int kLabelWidth = 190;
constexpr int kChartWidth = 520;

std::string Escaped(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

std::string Geometry(const GemvSpec& spec) {
  return absl::StrFormat("%d outputs, %d warps each, unroll %d", spec.outputs_per_block,
                         spec.warps_per_output, spec.unroll);
}

// A bar for each candidate, the roof being the full width.
std::string Chart(const GpuProfile& profile, const TuningResult& result) {
  const int height = kBarHeight * static_cast<int>(result.candidates.size());
  std::string svg = absl::StrFormat(
      "<svg width=\"%d\" height=\"%d\" role=\"img\">\n"
      "<line x1=\"%d\" x2=\"%d\" y1=\"0\" y2=\"%d\" class=\"roof\"/>\n",
      kLabelWidth + kChartWidth + 90, height, kLabelWidth + kChartWidth, kLabelWidth + kChartWidth,
      height);
  for (size_t i = 0; i < result.candidates.size(); ++i) {
    const Candidate& candidate = result.candidates[i];
    const int y = kBarHeight * static_cast<int>(i);
    const double width =
        std::min(1.0, result.Rate(candidate) / profile.read_bandwidth) * kChartWidth;
    absl::StrAppendFormat(&svg,
                          "<text x=\"0\" y=\"%d\">%s</text>"
                          "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" class=\"%s\"/>"
                          "<text x=\"%.1f\" y=\"%d\">%.0f GB/s</text>\n",
                          y + 12, Geometry(candidate.spec), kLabelWidth, y + 2, width,
                          kBarHeight - 4, i == 0 ? "best" : "other", kLabelWidth + width + 4,
                          y + 12, result.Rate(candidate) * 1e-9);
  }
  return svg + "</svg>\n";
}

}  // namespace

std::string TuneReport(const GpuProfile& profile, const std::vector<TuningResult>& results) {
  std::string html = absl::StrFormat(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<title>ptxsmith tune: %s</title>\n<style>\n"
      "body { font: 14px sans-serif; max-width: 860px; margin: 2em auto; color: #222; }\n"
      "table { border-collapse: collapse; } td, th { padding: 2px 12px; text-align: right; }\n"
      "td:first-child, th:first-child { text-align: left; } svg text { font: 11px sans-serif; }\n"
      ".best { fill: #2a7; } .other { fill: #9ab; } .roof { stroke: #c33; }\n"
      "</style></head><body>\n<h1>%s</h1>\n"
      "<p>Driver for CUDA %d.%d. Read stream %.0f GB/s (the red line). Times are medians of one "
      "launch in a graph of many, with weights that are in no cache.</p>\n"
      "<table><tr><th>matrix</th><th>by rule, us</th><th>tuned, us</th><th>gain</th><th>GB/s</th>"
      "<th>of read</th></tr>\n",
      Escaped(profile.device), Escaped(profile.device), profile.driver_version / 1000,
      profile.driver_version % 1000 / 10, profile.read_bandwidth * 1e-9);
  for (const TuningResult& result : results) {
    const double rate = result.Rate(result.best());
    absl::StrAppendFormat(
        &html,
        "<tr><td>%s</td><td>%.2f</td><td>%.2f</td><td>%.1f %%</td><td>%.0f</td><td>%.1f "
        "%%</td></tr>\n",
        Escaped(ProblemName(result.problem)), result.default_microseconds,
        result.best().microseconds,
        100 * (result.default_microseconds / result.best().microseconds - 1), rate * 1e-9,
        100 * rate / profile.read_bandwidth);
  }
  html += "</table>\n";
  for (const TuningResult& result : results) {
    absl::StrAppend(&html, "<h2>", Escaped(ProblemName(result.problem)), "</h2>\n",
                    Chart(profile, result));
  }
  return html + "</body></html>\n";
}

}  // namespace ptxsmith
