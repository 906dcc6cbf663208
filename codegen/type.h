// The types of the kernel language: tags that name what a value is. Sub-word integers exist in
// memory only; loading one gives a 32-bit value.
//
//   Val<F32> a;  Val<U32> i;  In<U8> bytes;   // bytes.Load(i) is a Val<U32>
#ifndef PTXSMITH_CODEGEN_TYPE_H_
#define PTXSMITH_CODEGEN_TYPE_H_

#include <concepts>
#include <cstdint>

#include "codegen/kernel_spec.h"

namespace ptxsmith {

struct U8 {};
struct S8 {};
struct U16 {};
struct F16 {};
struct BF16 {};
struct U32 {};
struct S32 {};
struct F32 {};
struct U64 {};

// The register files of the printed text: %p, %h, %r, %f, %rd.
enum class RegClass : uint8_t { kPred, kB16, kB32, kF32, kB64 };
inline constexpr int kRegClasses = 5;

// For each tag: the type of the value a load gives, the element type in memory, the register class
// and the suffixes of instructions and of memory accesses.
template <class T>
struct TypeTraits;

#define PTXSMITH_TYPE_(TAG, REG, ELEM, CLASS, OP, MEM)           \
  template <>                                                    \
  struct TypeTraits<TAG> {                                       \
    using Reg = REG;                                             \
    static constexpr ElemType kElem = ElemType::ELEM;            \
    static constexpr RegClass kClass = RegClass::CLASS;          \
    static constexpr const char* kOp = OP; /* add.u32 */         \
    static constexpr const char* kMove = "mov." OP;              \
    static constexpr const char* kMem = MEM; /* ld.global.b16 */ \
  };

PTXSMITH_TYPE_(U8, U32, kU8, kB32, "u32", "u8")
PTXSMITH_TYPE_(S8, S32, kS8, kB32, "s32", "s8")
PTXSMITH_TYPE_(U16, U32, kU16, kB32, "u32", "u16")
PTXSMITH_TYPE_(F16, F16, kF16, kB16, "f16", "b16")
PTXSMITH_TYPE_(BF16, U32, kBF16, kB32, "u32", "u16")  // the bits; ToF32 is a shift
PTXSMITH_TYPE_(U32, U32, kU32, kB32, "u32", "u32")
PTXSMITH_TYPE_(S32, S32, kS32, kB32, "s32", "s32")
PTXSMITH_TYPE_(F32, F32, kF32, kF32, "f32", "f32")
PTXSMITH_TYPE_(U64, U64, kU64, kB64, "u64", "u64")
#undef PTXSMITH_TYPE_

template <class T>
using RegOf = typename TypeTraits<T>::Reg;

template <class T>
concept IntegerTag = std::same_as<T, U32> || std::same_as<T, S32> || std::same_as<T, U64>;
// The types that values are computed in.
template <class T>
concept NumberTag = IntegerTag<T> || std::same_as<T, F32>;

template <class T>
inline constexpr uint32_t kByteSize = ByteSize(TypeTraits<T>::kElem);

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_TYPE_H_
