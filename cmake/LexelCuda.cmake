# Turns CUDA on where it can be built and sets LEXEL_HAVE_CUDA; LEXEL_CUDA=ON makes a missing part an error.

set(LEXEL_HAVE_CUDA OFF)
if(LibTorch_cuda_FOUND)
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    # A100, H100 (with wgmma), B200, RTX 50. Before enable_language: CMake 3.25 would take 75.
    set(CMAKE_CUDA_ARCHITECTURES "80;90a;100;120" CACHE STRING "CUDA architectures")
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER "${CUDAToolkit_NVCC_EXECUTABLE}")
  endif()
  enable_language(CUDA)
  # CMake 3.25 does not know that nvcc 13 speaks C++20.
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
    list(APPEND CMAKE_CUDA_COMPILE_FEATURES cuda_std_20)
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(LEXEL_HAVE_CUDA ON)
elseif(LEXEL_CUDA STREQUAL "ON")
  message(FATAL_ERROR "LEXEL_CUDA=ON, but ${LibTorch_cuda_WHY}")
endif()
