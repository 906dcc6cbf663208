#include "tools/fuzz/kernel_runner.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "runtime/launch.h"

namespace ptxsmith {
namespace {

constexpr uint64_t kGuardBytes = 256;
constexpr uint8_t kGuard = 0x5a;

// A buffer argument on the device: `guard_before` bytes, the contents, `guard_after` bytes.
struct Guarded {
  Buffer buffer;
  uint64_t before = 0, after = 0;
  BufferView view() const {
    return BufferView(buffer).Slice(before, buffer.bytes() - before - after);
  }
};

absl::StatusOr<Guarded> Upload(Stream& stream, const ParamDesc& param, const Bytes& bytes) {
  Device& device = *stream.device();
  Guarded result;
  if (!device.profile().emulated) {
    result.before = kGuardBytes + param.alignment;  // allocations are aligned to 256 bytes
    result.after = kGuardBytes;
  }
  PTXSMITH_ASSIGN_OR_RETURN(
      result.buffer, device.Allocate(result.before + bytes.size() + result.after, param.name));
  Bytes image(result.buffer.bytes(), kGuard);
  if (param.kind == ParamKind::kOut) {
    std::fill_n(image.begin() + result.before, bytes.size(), kPoison);
  } else {
    std::copy(bytes.begin(), bytes.end(), image.begin() + result.before);
  }
  PTXSMITH_RETURN_IF_ERROR(stream.CopyToDevice(result.buffer, image.data(), image.size()));
  PTXSMITH_RETURN_IF_ERROR(stream.Synchronize());
  return result;
}

absl::StatusOr<Bytes> Download(Stream& stream, const ParamDesc& param, const Guarded& guarded) {
  Bytes image(guarded.buffer.bytes());
  PTXSMITH_RETURN_IF_ERROR(stream.CopyToHost(image.data(), guarded.buffer, image.size()));
  PTXSMITH_RETURN_IF_ERROR(stream.Synchronize());
  const uint64_t end = image.size() - guarded.after;
  for (uint64_t i = 0; i < image.size(); ++i) {
    if (i == guarded.before) i = end;
    if (i < image.size() && image[i] != kGuard) {
      return absl::DataLossError(absl::StrCat("'", param.name, "' was written at byte ",
                                              static_cast<int64_t>(i - guarded.before), ", it has ",
                                              end - guarded.before));
    }
  }
  return Bytes(image.begin() + guarded.before, image.begin() + end);
}

}  // namespace

absl::StatusOr<KernelRunner> KernelRunner::Open(absl::string_view device) {
  PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<Device> opened, Device::Open(device));
  return On(std::move(opened));
}

absl::StatusOr<KernelRunner> KernelRunner::On(std::shared_ptr<Device> device) {
  PTXSMITH_ASSIGN_OR_RETURN(Stream stream, device->NewStream());
  return KernelRunner(std::move(device), std::move(stream));
}

absl::StatusOr<std::vector<Bytes>> KernelRunner::Run(const KernelCase& test) {
  const Target& target = device_->profile().target;
  PTXSMITH_ASSIGN_OR_RETURN(
      const std::shared_ptr<const Module> module,
      cache_->GetOrBuild(test.key(target), [&] { return test.build(target); }));
  return Run(module, test);
}

absl::StatusOr<std::vector<Bytes>> KernelRunner::Run(const std::shared_ptr<const Module>& module,
                                                     const KernelCase& test) {
  const std::vector<ParamDesc>& params = module->spec().params;
  std::vector<Guarded> buffers(test.args.size());
  std::vector<bool> shared(test.args.size());
  std::vector<Arg> args(test.args.size());
  for (size_t i = 0; i < test.args.size(); ++i) {
    if (const auto* bytes = std::get_if<Bytes>(&test.args[i])) {
      PTXSMITH_ASSIGN_OR_RETURN(buffers[i], Upload(stream_, params[i], *bytes));
      args[i] = buffers[i].view();
    } else if (const auto* number = std::get_if<uint32_t>(&test.args[i])) {
      args[i] = *number;
    } else if (const auto* real = std::get_if<float>(&test.args[i])) {
      args[i] = *real;
    }
  }
  for (size_t i = 0; i < test.args.size(); ++i) {
    const auto* same = std::get_if<SameAs>(&test.args[i]);
    if (same == nullptr) continue;
    args[i] = args[same->arg];
    shared[same->arg] = true;
  }
  PTXSMITH_ASSIGN_OR_RETURN(const BoundLaunch launch, Bind(module, args));
  PTXSMITH_RETURN_IF_ERROR(Enqueue(launch, stream_));
  PTXSMITH_RETURN_IF_ERROR(stream_.Synchronize());
  std::vector<Bytes> after(test.args.size());
  for (size_t i = 0; i < test.args.size(); ++i) {
    const auto* before = std::get_if<Bytes>(&test.args[i]);
    if (before == nullptr) continue;
    PTXSMITH_ASSIGN_OR_RETURN(after[i], Download(stream_, params[i], buffers[i]));
    if (params[i].kind == ParamKind::kIn && !shared[i] && after[i] != *before) {
      return absl::DataLossError(absl::StrCat("'", params[i].name, "', an input, was written"));
    }
  }
  return after;
}

}  // namespace ptxsmith
