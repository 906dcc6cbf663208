#define PTXSMITH_EMU_BACKEND V3Backend
#define PTXSMITH_EMU_ISA_NAME "x86-64-v3"
#include "runtime/emu/isa/isa.inc"
