#include "kernels/upfirdn.h"
