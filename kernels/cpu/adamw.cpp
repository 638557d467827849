#include "kernels/cpu/adamw.h"
