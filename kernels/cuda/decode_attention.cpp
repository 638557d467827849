#include "kernels/cuda/decode_attention.h"
