// One launch of a kernel with all it needs: the text, the arguments and what must come out. The
// same cases serve `ptxsmith fuzz`, the kernel tests, the comparison of devices and the mutation
// test; each family lists its own in cases/FAMILY_cases.cc.
//
//   for (const CaseMaker& maker : GemvCases(seed)) {
//     const KernelCase test = maker.make();
//     PTXSMITH_ASSIGN_OR_RETURN(auto after, runner.Run(test));
//     if (const Verdict v = test.check(after); !v) std::puts(v.problem.c_str());
//   }
//
// Plain data; a KernelCase is independent of the device and of its architecture.
#ifndef PTXSMITH_TOOLS_FUZZ_KERNEL_CASE_H_
#define PTXSMITH_TOOLS_FUZZ_KERNEL_CASE_H_

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {

using Bytes = std::vector<uint8_t>;

template <class T>
Bytes ToBytes(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

template <class T>
std::vector<T> FromBytes(const Bytes& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

// Outputs hold this byte before the launch: every f32 and f16 is a NaN.
inline constexpr uint8_t kPoison = 0xff;

// The buffer of another argument once more, for kernels that may work in place.
struct SameAs {
  size_t arg;
};

// Buffers are given by their contents; of outputs that the kernel only writes, the size counts.
using HostArg = std::variant<Bytes, SameAs, uint32_t, float>;

struct KernelCase {
  std::string name;  // the spec's fields and the inputs with their seed
  std::function<std::string(const Target&)> key;
  std::function<absl::StatusOr<KernelSpec>(const Target&)> build;
  std::vector<HostArg> args;
  // Whether the arguments' contents after the launch (empty for scalars) are right. Buffers that
  // the kernel may only read need no check.
  std::function<Verdict(absl::Span<const Bytes> after)> check;
  // Whether all devices give the same bits. False for tensor cores, whose order of summation is
  // their own: there every device must pass `check`.
  bool same_bits = true;
};

template <class Spec>
KernelCase CaseOf(const Spec& spec,
                  absl::StatusOr<KernelSpec> (*build)(const Spec&, const Target&)) {
  KernelCase result;
  result.key = [spec](const Target& target) { return KeyOf(spec, target); };
  result.build = [spec, build](const Target& target) { return build(spec, target); };
  return result;
}

// A case not yet made, as inputs can be large.
struct CaseMaker {
  std::string fields;  // of the spec: cases of one kernel have the same
  std::string inputs;
  uint64_t work = 0;  // elements read times their uses: what the emulator's time grows with
  std::function<KernelCase()> body;

  KernelCase make() const {
    KernelCase result = body();
    result.name = fields + " " + inputs;
    return result;
  }
};

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_FUZZ_KERNEL_CASE_H_
