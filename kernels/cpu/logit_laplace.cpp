#include "kernels/cpu/logit_laplace.h"
