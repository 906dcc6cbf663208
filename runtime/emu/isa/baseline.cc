#define PTXSMITH_EMU_BACKEND BaselineBackend
#define PTXSMITH_EMU_ISA_NAME "x86-64"
#include "runtime/emu/isa/isa.inc"
