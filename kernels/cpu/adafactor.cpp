#include "kernels/cpu/adafactor.h"
