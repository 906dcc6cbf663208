// Copies of ordinary host memory to a device through pinned pieces: while one is on its way, the
// next is filled, so that reading a file and moving it overlap. Used to load weights.
//
//   PTXSMITH_ASSIGN_OR_RETURN(StagedUpload upload, StagedUpload::Create(device, stream));
//   PTXSMITH_RETURN_IF_ERROR(upload.Copy(buffer, data, bytes));
//   PTXSMITH_RETURN_IF_ERROR(stream.Synchronize());
//
// Thread-safety: that of the stream, which must outlive it. Errors: those of the device;
// InvalidArgument when the buffer is too small.
#ifndef PTXSMITH_RUNTIME_STAGED_UPLOAD_H_
#define PTXSMITH_RUNTIME_STAGED_UPLOAD_H_

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/device.h"

namespace ptxsmith {

class StagedUpload {
 public:
  static constexpr uint64_t kPieceBytes = uint64_t{32} << 20;

  static absl::StatusOr<StagedUpload> Create(Device& device, Stream& stream,
                                             uint64_t piece_bytes = kPieceBytes);

  // Puts the copy on the stream. `from` has been read when it returns.
  absl::Status Copy(BufferView to, const void* from, uint64_t bytes);

 private:
  struct Piece {
    HostBuffer memory;
    Event sent;         // the last copy out of it
    bool used = false;  // there was one
  };

  StagedUpload(Stream& stream, uint64_t piece_bytes)
      : stream_(&stream), piece_bytes_(piece_bytes) {}

  Stream* stream_;
  uint64_t piece_bytes_;
  bool direct_ = false;
  std::array<Piece, 2> pieces_;
  size_t next_ = 0;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_STAGED_UPLOAD_H_
