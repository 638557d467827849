#include "kernels/cpu/linear_decode.h"
