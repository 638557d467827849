#include "kernels/cuda/logit_laplace.h"
