#include "kernels/linear_decode.h"
