#include "kernels/cuda/upfirdn.h"
