#include "kernels/cuda/adafactor.h"
