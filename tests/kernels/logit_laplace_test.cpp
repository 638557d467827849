#include "kernels/logit_laplace.h"
