#define PTXSMITH_EMU_BACKEND V4Backend
#define PTXSMITH_EMU_ISA_NAME "x86-64-v4"
#include "runtime/emu/isa/isa.inc"
