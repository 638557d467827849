"""PSNR and SSIM by scikit-image of two raw float64 files: skimage_metrics.py A B CHANNELS HEIGHT WIDTH."""

import sys

import numpy
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

shape = tuple(int(size) for size in sys.argv[3:6])
picture, reference = (numpy.fromfile(name).reshape(shape) for name in sys.argv[1:3])
gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
print(repr(float(peak_signal_noise_ratio(reference, picture, data_range=1))))
for options in (gaussian, {}):
    print(repr(float(structural_similarity(picture, reference, data_range=1, channel_axis=0, **options))))
