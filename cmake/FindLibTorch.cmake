# FindLibTorch: LibTorch as imported targets, without TorchConfig.cmake.
#
# TorchConfig.cmake of a CUDA wheel stops where no toolkit is installed, adds global compiler flags, and links
# libtorch.so, which needs every CUDA library. Here the CPU half stands alone.
#
#   find_package(LibTorch REQUIRED)                            LibTorch::c10  LibTorch::cpu
#   find_package(LibTorch REQUIRED OPTIONAL_COMPONENTS cuda)   LibTorch::cuda as well, where it can link
#
# A root holds include/ and lib/: the `torch` folder of a wheel, or an unpacked libtorch zip. First hit wins:
#   1. LEXEL_TORCH_ROOT (that one or an error)        3. torch of the python3 on PATH (never imported)
#   2. the folder that setup/install.sh made          4. CMAKE_PREFIX_PATH
# Sets LibTorch_FOUND, LibTorch_cuda_FOUND, LibTorch_VERSION, LibTorch_ROOT, LibTorch_LIBRARY_DIRS (what a program's
# RPATH needs).

set(_version 2.11.0)  # what setup/install.sh fetches

# --- candidates -------------------------------------------------------------------------------------------------------
set(_roots "")
set(_tried "")
if(LEXEL_TORCH_ROOT)
  list(APPEND _roots "${LEXEL_TORCH_ROOT}" "${LEXEL_TORCH_ROOT}/torch")
  string(APPEND _tried "\n  LEXEL_TORCH_ROOT     ${LEXEL_TORCH_ROOT}")
else()
  if(DEFINED ENV{XDG_CACHE_HOME} AND NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
    set(_cache "$ENV{XDG_CACHE_HOME}/lexel/libtorch-${_version}/torch")
  else()
    set(_cache "$ENV{HOME}/.cache/lexel/libtorch-${_version}/torch")
  endif()
  list(APPEND _roots "${_cache}")
  string(APPEND _tried "\n  setup/install.sh     ${_cache}")

  find_program(_python NAMES python3 NO_CACHE)
  if(_python)
    execute_process(
      COMMAND "${_python}" -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE _site OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  if(_site)
    list(APPEND _roots "${_site}")
  else()
    set(_site "no torch there")
  endif()
  string(APPEND _tried "\n  python3 on PATH      ${_python}: ${_site}")

  foreach(_prefix IN LISTS CMAKE_PREFIX_PATH)
    list(APPEND _roots "${_prefix}" "${_prefix}/torch" "${_prefix}/libtorch")
  endforeach()
  string(APPEND _tried "\n  CMAKE_PREFIX_PATH    ${CMAKE_PREFIX_PATH}")
endif()

set(LibTorch_ROOT "")
foreach(_root IN LISTS _roots)
  if(EXISTS "${_root}/include/ATen/core/Tensor.h" AND EXISTS "${_root}/lib/libtorch_cpu.so")
    get_filename_component(LibTorch_ROOT "${_root}" ABSOLUTE)
    break()
  endif()
endforeach()

# --- targets ----------------------------------------------------------------------------------------------------------
if(LibTorch_ROOT)
  set(LibTorch_VERSION "")
  file(STRINGS "${LibTorch_ROOT}/include/torch/headeronly/version.h" _lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
  string(REGEX MATCHALL "[0-9]+" _lines "${_lines}")
  list(JOIN _lines "." LibTorch_VERSION)

  # The wheel's own libraries name their neighbours through DT_RPATH; ours must as well (see lexel_rpath).
  file(GLOB _nvidia LIST_DIRECTORIES true "${LibTorch_ROOT}/../nvidia/*/lib")
  set(LibTorch_LIBRARY_DIRS "${LibTorch_ROOT}/lib")
  set(_link_dirs "")
  foreach(_dir IN LISTS _nvidia)
    get_filename_component(_dir "${_dir}" ABSOLUTE)
    list(APPEND LibTorch_LIBRARY_DIRS "${_dir}")
    list(APPEND _link_dirs "LINKER:-rpath-link,${_dir}")
  endforeach()

  if(NOT TARGET LibTorch::cpu)
    add_library(LibTorch::c10 SHARED IMPORTED)
    set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION "${LibTorch_ROOT}/lib/libc10.so")
    # IMPORTED targets' include folders are SYSTEM: our warnings stay ours.
    target_include_directories(LibTorch::c10 INTERFACE
      "${LibTorch_ROOT}/include" "${LibTorch_ROOT}/include/torch/csrc/api/include")
    # c10d's classes change with USE_*; they are what the wheel was compiled with. AT_PER_OPERATOR_HEADERS keeps
    # ATen/TensorOperators.h (a + b) from pulling in all of ATen.
    target_compile_definitions(LibTorch::c10 INTERFACE AT_PER_OPERATOR_HEADERS USE_DISTRIBUTED USE_C10D_GLOO)
    target_link_options(LibTorch::c10 INTERFACE ${_link_dirs})

    add_library(LibTorch::cpu SHARED IMPORTED)
    set_target_properties(LibTorch::cpu PROPERTIES IMPORTED_LOCATION "${LibTorch_ROOT}/lib/libtorch_cpu.so")
    target_link_libraries(LibTorch::cpu INTERFACE LibTorch::c10)
    # at::parallel_for is a header of OpenMP pragmas: without -fopenmp it runs on one thread. The runtime is LibTorch's own.
    file(GLOB _gomp "${LibTorch_ROOT}/lib/libgomp*.so*")
    target_compile_options(LibTorch::cpu INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
    target_link_libraries(LibTorch::cpu INTERFACE ${_gomp})
  endif()

  # --- the CUDA half: only with a toolkit of the wheel's major version and the libraries that libtorch_cuda needs
  set(LibTorch_cuda_FOUND FALSE)
  set(LibTorch_cuda_WHY "")
  if("cuda" IN_LIST LibTorch_FIND_COMPONENTS)
    if(NOT EXISTS "${LibTorch_ROOT}/lib/libtorch_cuda.so")
      set(LibTorch_cuda_WHY "${LibTorch_ROOT}/lib holds no libtorch_cuda.so")
    else()
      find_package(CUDAToolkit QUIET)
      if(NOT CUDAToolkit_FOUND)
        set(LibTorch_cuda_WHY "no CUDA toolkit found")
      elseif(NOT CUDAToolkit_VERSION_MAJOR EQUAL 13)
        set(LibTorch_cuda_WHY "the CUDA toolkit is ${CUDAToolkit_VERSION}, LibTorch ${LibTorch_VERSION} needs 13")
      else()
        # All that libtorch_cuda.so names. A linker would say it in two thousand lines.
        foreach(_lib cublas.so.13 cublasLt.so.13 cudnn.so.9 cufft.so.12 cufile.so.0 curand.so.10 cusparse.so.12
            cusparseLt.so.0 nccl.so.2 nvshmem_host.so.3)
          find_library(_found NAMES lib${_lib} PATHS ${LibTorch_LIBRARY_DIRS} ${CUDAToolkit_LIBRARY_DIR} NO_CACHE)
          if(NOT _found)
            string(APPEND LibTorch_cuda_WHY "lib${_lib} ")
          endif()
          unset(_found)
        endforeach()
        if(LibTorch_cuda_WHY)
          string(APPEND LibTorch_cuda_WHY "not found (setup/install.sh fetches what a toolkit lacks)")
        endif()
      endif()
    endif()
    if(NOT LibTorch_cuda_WHY)
      set(LibTorch_cuda_FOUND TRUE)
      list(APPEND LibTorch_LIBRARY_DIRS "${CUDAToolkit_LIBRARY_DIR}")
      if(NOT TARGET LibTorch::cuda)
        add_library(LibTorch::cuda INTERFACE IMPORTED)
        # Nothing refers to a symbol of libtorch_cuda; its initialisers register the device. So it must not be dropped.
        target_link_options(LibTorch::cuda INTERFACE "LINKER:-rpath-link,${CUDAToolkit_LIBRARY_DIR}")
        target_link_libraries(LibTorch::cuda INTERFACE
          "-Wl,--no-as-needed,${LibTorch_ROOT}/lib/libtorch_cuda.so,${LibTorch_ROOT}/lib/libc10_cuda.so,--as-needed"
          LibTorch::cpu CUDA::cudart)
        target_compile_definitions(LibTorch::cuda INTERFACE USE_C10D_NCCL)
      endif()
    endif()
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_ROOT
  VERSION_VAR LibTorch_VERSION
  HANDLE_COMPONENTS
  REASON_FAILURE_MESSAGE "searched:${_tried}\nCure: run setup/install.sh, or pass -DLEXEL_TORCH_ROOT=<folder with include/ and lib/>\n")
