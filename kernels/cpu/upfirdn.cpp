#include "kernels/cpu/upfirdn.h"
