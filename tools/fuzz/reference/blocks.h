// The quantised blocks as they lie in GGUF files (ggml-common.h of ggml, August 2026), written for
// the references and the random inputs of the tests alone: kernels have their own constants, so a
// mistake in one place does not hide in the other. No padding occurs; halves are kept as bits.
//
//   static_assert(sizeof(BlockQ4K) == 144);
#ifndef PTXSMITH_TOOLS_FUZZ_REFERENCE_BLOCKS_H_
#define PTXSMITH_TOOLS_FUZZ_REFERENCE_BLOCKS_H_

#include <cstdint>

namespace ptxsmith::reference {

struct BlockQ4_0 {
  uint16_t d;
  uint8_t qs[16];
};
struct BlockQ4_1 {
  uint16_t d, m;
  uint8_t qs[16];
};
struct BlockQ5_0 {
  uint16_t d;
  uint8_t qh[4], qs[16];
};
struct BlockQ5_1 {
  uint16_t d, m;
  uint8_t qh[4], qs[16];
};
struct BlockQ8_0 {
  uint16_t d;
  int8_t qs[32];
};
struct BlockQ2K {
  uint8_t scales[16], qs[64];
  uint16_t d, dmin;
};
struct BlockQ3K {
  uint8_t hmask[32], qs[64], scales[12];
  uint16_t d;
};
struct BlockQ4K {
  uint16_t d, dmin;
  uint8_t scales[12], qs[128];
};
struct BlockQ5K {
  uint16_t d, dmin;
  uint8_t scales[12], qh[32], qs[128];
};
struct BlockQ6K {
  uint8_t ql[128], qh[64];
  int8_t scales[16];
  uint16_t d;
};
struct BlockIQ4NL {
  uint16_t d;
  uint8_t qs[16];
};
struct BlockIQ4XS {
  uint16_t d, scales_h;
  uint8_t scales_l[4], qs[128];
};
struct BlockMXFP4 {
  uint8_t e;
  uint8_t qs[16];
};

}  // namespace ptxsmith::reference

#endif  // PTXSMITH_TOOLS_FUZZ_REFERENCE_BLOCKS_H_
