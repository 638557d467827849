#include "kernels/cuda/linear_decode.h"
