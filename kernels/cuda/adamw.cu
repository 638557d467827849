#include "kernels/cuda/adamw.h"
