// The parts of Transformer that run several rows exactly: sequences side by side, and drafts.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/transformer.h"

namespace ptxsmith {
namespace {

absl::Status CheckRows(size_t rows, uint32_t most) {
  if (rows > 0 && rows <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a step of ", rows, " rows; there is room for 1 to ", most));
}

}  // namespace

absl::StatusOr<const Transformer::Program*> Transformer::BatchProgram(const BatchShape& shape) {
  const auto found = batches_.find(shape);
  if (found != batches_.end()) return &found->second;
  Program program;
  PTXSMITH_ASSIGN_OR_RETURN(program.step, lowering_->Lower({.rows = shape.rows,
                                                            .exact = shape.exact,
                                                            .logits = LogitRows::kAll,
                                                            .pick = !shape.sampled}));
  if (shape.sampled) PTXSMITH_RETURN_IF_ERROR(AddSampling(shape.rows, program.step));
  PTXSMITH_RETURN_IF_ERROR(RecordGraph(program));
  return &batches_.emplace(shape, std::move(program)).first->second;
}

absl::Status Transformer::Select(uint32_t slot) {
  if (slot >= slots()) {
    return absl::OutOfRangeError(absl::StrCat("slot ", slot, " of ", slots()));
  }
  if (slot == slot_) return absl::OkStatus();
  ForgetPicks();
  output_ = Output::kNothing;
  slot_ = slot;
  return absl::OkStatus();
}

absl::Status Transformer::UploadBatch(absl::Span<const SlotToken> rows) {
  PTXSMITH_RETURN_IF_ERROR(AwaitUploads());
  const uint32_t count = static_cast<uint32_t>(rows.size());
  uint32_t* const tokens = static_cast<uint32_t*>(host_batches_.data()) +
                           uint64_t{choices_made_ % kPickRing} * 3 * io_.logit_rows();
  uint32_t* const positions = tokens + io_.logit_rows();
  uint32_t* const slots_of = positions + io_.logit_rows();
  for (uint32_t r = 0; r < count; ++r) {
    tokens[r] = rows[r].token;
    positions[r] = lengths_[rows[r].slot];
    slots_of[r] = rows[r].slot;
  }
  const uint64_t bytes = uint64_t{count} * 4;
  PTXSMITH_RETURN_IF_ERROR(stream_.CopyToDevice(io_.tokens(count), tokens, bytes));
  PTXSMITH_RETURN_IF_ERROR(stream_.CopyToDevice(io_.positions(count), positions, bytes));
  return stream_.CopyToDevice(io_.slots(count), slots_of, bytes);
}

absl::Status Transformer::StepBatch(absl::Span<const SlotToken> rows) {
  PTXSMITH_RETURN_IF_ERROR(CheckRows(rows.size(), io_.logit_rows()));
  for (size_t r = 0; r < rows.size(); ++r) {
    const auto same = [&](const SlotToken& other) { return other.slot == rows[r].slot; };
    if (rows[r].slot >= slots()) {
      return absl::InvalidArgumentError(
          absl::StrCat("row ", r, " is of slot ", rows[r].slot, " of ", slots()));
    }
    if (std::any_of(rows.begin(), rows.begin() + r, same)) {
      return absl::InvalidArgumentError(
          absl::StrCat("row ", r, " is of slot ", rows[r].slot, ", which an earlier row has"));
    }
    PTXSMITH_RETURN_IF_ERROR(CheckTokens({&rows[r].token, 1}));
    PTXSMITH_RETURN_IF_ERROR(CheckRoom(rows[r].slot, 1));
  }
  const uint32_t count = static_cast<uint32_t>(rows.size());
  const bool sampled = std::any_of(rows.begin(), rows.end(),
                                   [&](const SlotToken& row) { return Samples(row.slot); });
  PTXSMITH_ASSIGN_OR_RETURN(batch_program_, BatchProgram({count, exact_batches_, sampled}));
  ForgetPicks();
  PTXSMITH_RETURN_IF_ERROR(UploadBatch(rows));
  batch_sampled_ = sampled;
  ahead_slots_.clear();
  for (const SlotToken& row : rows) ahead_slots_.push_back(row.slot);
  output_ = Output::kBatch;
  output_rows_ = count;
  return RunBatch();
}

absl::Status Transformer::StepBatchGreedy() {
  if (output_ != Output::kBatch) {
    return absl::FailedPreconditionError("the last step was not one of several sequences");
  }
  for (const uint32_t slot : ahead_slots_) PTXSMITH_RETURN_IF_ERROR(CheckRoom(slot, 1));
  PTXSMITH_RETURN_IF_ERROR(CheckUnreadPicks());
  PTXSMITH_RETURN_IF_ERROR(RunBatch());
  ++ahead_;
  return absl::OkStatus();
}

absl::Status Transformer::RunBatch() {
  if (batch_sampled_) PTXSMITH_RETURN_IF_ERROR(sampler_->Feed(ahead_slots_, stream_));
  PTXSMITH_RETURN_IF_ERROR(Run(*batch_program_));
  for (const uint32_t slot : ahead_slots_) ++lengths_[slot];
  return SendPicks(output_rows_);
}

absl::StatusOr<absl::Span<const TokenId>> Transformer::NextBatch() { return ReceivePicks(); }

absl::StatusOr<absl::Span<const TokenId>> Transformer::Verify(absl::Span<const TokenId> tokens) {
  PTXSMITH_RETURN_IF_ERROR(CheckRows(tokens.size(), io_.logit_rows()));
  PTXSMITH_RETURN_IF_ERROR(CheckTokens(tokens));
  const uint32_t rows = static_cast<uint32_t>(tokens.size());
  PTXSMITH_RETURN_IF_ERROR(CheckRoom(slot_, rows));
  PTXSMITH_ASSIGN_OR_RETURN(const Program* const program, BatchProgram({rows, /*exact=*/true}));
  ForgetPicks();
  PTXSMITH_RETURN_IF_ERROR(UploadInputs(tokens));
  PTXSMITH_RETURN_IF_ERROR(Run(*program));
  lengths_[slot_] += rows;
  output_ = Output::kNothing;
  PTXSMITH_RETURN_IF_ERROR(SendPicks(rows));
  return ReceivePicks();
}

}  // namespace ptxsmith
