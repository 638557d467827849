#include "kernels/cpu/decode_attention.h"
