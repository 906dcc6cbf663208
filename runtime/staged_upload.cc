#include "runtime/staged_upload.h"

#include <algorithm>
#include <cstring>

#include "codegen/status_macros.h"

namespace ptxsmith {

absl::StatusOr<StagedUpload> StagedUpload::Create(Device& device, Stream& stream,
                                                  uint64_t piece_bytes) {
  StagedUpload upload(stream, piece_bytes);
  // Copies that are done, or never will be, when they return gain nothing by a detour.
  upload.direct_ = device.profile().emulated || device.profile().dry;
  if (upload.direct_) return upload;
  for (Piece& piece : upload.pieces_) {
    PTXSMITH_ASSIGN_OR_RETURN(piece.memory, device.AllocateHost(piece_bytes));
    PTXSMITH_ASSIGN_OR_RETURN(piece.sent, device.NewEvent());
  }
  return upload;
}

absl::Status StagedUpload::Copy(BufferView to, const void* from, uint64_t bytes) {
  if (direct_) return stream_->CopyToDevice(to, from, bytes);
  for (uint64_t at = 0; at < bytes; at += piece_bytes_) {
    Piece& piece = pieces_[next_];
    next_ = (next_ + 1) % pieces_.size();
    if (piece.used) PTXSMITH_RETURN_IF_ERROR(piece.sent.Await());
    const uint64_t part = std::min(piece_bytes_, bytes - at);
    std::memcpy(piece.memory.data(), static_cast<const uint8_t*>(from) + at, part);
    const uint64_t room = to.bytes - std::min(to.bytes, at);
    PTXSMITH_RETURN_IF_ERROR(stream_->CopyToDevice({to.ptr + at, room}, piece.memory.data(), part));
    PTXSMITH_RETURN_IF_ERROR(piece.sent.Record(*stream_));
    piece.used = true;
  }
  return absl::OkStatus();
}

}  // namespace ptxsmith
