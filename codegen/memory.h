// Typed pointers of the kernel language.
//
//   In<T>      a buffer the kernel reads        x.Load(i), x.Load<4>(i)
//   Out<T>     a buffer it writes               y.Store(i, value)
//   InOut<T>   both
//   Shared<T>  an array in the block's shared memory
//
// Indices count elements of T. Address arithmetic in global memory is 64 bits wide (mad.wide.u32):
// an index may be any 32-bit number. Every access checks while generating that the address is known
// to be a multiple of the bytes accessed; what is known flows from the alignment of the parameter
// and from the constants an index was made of.
#ifndef PTXSMITH_CODEGEN_MEMORY_H_
#define PTXSMITH_CODEGEN_MEMORY_H_

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "codegen/val.h"

namespace ptxsmith {

enum class Space : uint8_t { kGlobal, kShared };

// What an access to global memory promises to the other blocks of the device. A relaxed access of
// one element is never torn and always sees the latest value (polling); acquire and release also
// order the accesses after and before them.
enum class MemoryOrder : uint8_t { kWeak, kRelaxed, kAcquire, kRelease };

// An address under construction: register + constant, and what is known of its alignment.
struct Address {
  Recorder* recorder = nullptr;
  Space space = Space::kGlobal;
  bool constant = false;  // never written while the kernel runs: ld.global.nc
  const char* name = "";  // of the parameter or array, for messages
  ir::Operand base;
  int64_t offset = 0;      // bytes
  uint32_t alignment = 1;  // power of two that divides base + offset

  // `index` elements of `stride` bytes further on.
  Address Plus(const Operand<U32>& index, uint32_t stride) const;
  // Loads `count` registers of `elem_bytes` each; `suffix` is that of one element ("f32").
  using Loaded = absl::InlinedVector<ir::RegId, 4>;  // as many as a vector has elements
  Loaded Load(RegClass cls, const char* suffix, uint32_t elem_bytes, uint32_t count,
              MemoryOrder order, SourceLoc loc) const;
  void Store(const char* suffix, uint32_t elem_bytes, absl::Span<const ir::Operand> values,
             MemoryOrder order, SourceLoc loc) const;
  // As an operand of other instructions: [base + offset], known to be aligned to `bytes`.
  ir::Operand AsOperand(uint32_t bytes, SourceLoc loc) const;
};

// p ? a : b, with what is known of both. Both are of the same space.
Address SelectAddress(const Pred& p, const Address& a, const Address& b);

template <class T, bool kReads, bool kWrites>
class Pointer {
 public:
  explicit Pointer(Address address) : address_(address) {}

  // The element at `index`; U8 and U16 widen to 32 bits.
  Val<RegOf<T>> Load(Operand<U32> index,
                     MemoryOrder order = MemoryOrder::kWeak) const requires kReads {
    return Load<1>(index, order)[0];
  }
  // N (1, 2 or 4) elements from `index` on as one access of N * sizeof(T) bytes.
  // Ordered: ld.relaxed.gpu, ld.acquire.gpu.
  template <size_t N>
  Vec<RegOf<T>, N> Load(Operand<U32> index,
                        MemoryOrder order = MemoryOrder::kWeak) const requires kReads {
    static_assert(N == 1 || N == 2 || N == 4, "PTX vectors have 1, 2 or 4 elements");
    const auto regs =
        address_.Plus(index, kByteSize<T>)
            .Load(TypeTraits<T>::kClass, TypeTraits<T>::kMem, kByteSize<T>, N, order, index.loc);
    return MakeVec<N>([&](size_t i) {
      return Val<RegOf<T>>(address_.recorder, address_.recorder->RegOperand(regs[i]));
    });
  }

  // Ordered: st.relaxed.gpu, st.release.gpu.
  void Store(Operand<U32> index, Operand<RegOf<T>> value,
             MemoryOrder order = MemoryOrder::kWeak) const requires kWrites {
    address_.Plus(index, kByteSize<T>)
        .Store(TypeTraits<T>::kMem, kByteSize<T>, {value.ir}, order, index.loc);
  }
  template <size_t N>
  void Store(Operand<U32> index, const Vec<RegOf<T>, N>& values,
             MemoryOrder order = MemoryOrder::kWeak) const requires kWrites {
    static_assert(N == 1 || N == 2 || N == 4, "PTX vectors have 1, 2 or 4 elements");
    std::array<ir::Operand, N> operands;
    for (size_t i = 0; i < N; ++i) operands[i] = values[i].ir();
    address_.Plus(index, kByteSize<T>)
        .Store(TypeTraits<T>::kMem, kByteSize<T>, operands, order, index.loc);
  }

  // The pointer moved by `index` elements, or by `index` steps of `stride` bytes.
  Pointer At(Operand<U32> index, uint32_t stride = kByteSize<T>) const {
    return Pointer(address_.Plus(index, stride));
  }

  // The same address seen as elements of another type.
  template <class U>
  Pointer<U, kReads, kWrites> As() const {
    return Pointer<U, kReads, kWrites>(address_);
  }

  const Address& address() const { return address_; }

  // p ? a : b: selp.u64 (global) or selp.u32 (shared)
  friend Pointer Select(const Pred& p, const Pointer& a, const Pointer& b) {
    return Pointer(SelectAddress(p, a.address_, b.address_));
  }

 private:
  Address address_;
};

template <class T>
using In = Pointer<T, true, false>;
template <class T>
using Out = Pointer<T, false, true>;
template <class T>
using InOut = Pointer<T, true, true>;
template <class T>
class Shared : public Pointer<T, true, true> {
 public:
  using Pointer<T, true, true>::Pointer;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_MEMORY_H_
