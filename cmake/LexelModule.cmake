# lexel_add_module, lexel_add_test, lexel_add_benchmark, lexel_add_cuda_plugin: see cmake/README.md for examples.

# Warnings, sections and sanitizers for our own code. Linked PRIVATE within the build only, so no user inherits them.
add_library(lexel_options INTERFACE)
target_compile_options(lexel_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
  -Woverloaded-virtual -Wold-style-cast>)
target_compile_options(lexel_options INTERFACE
  "$<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${LEXEL_WERROR}>>:-Werror>")
if(LEXEL_SANITIZE)
  target_compile_options(lexel_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${LEXEL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer>)
  target_link_options(lexel_options INTERFACE -fsanitize=${LEXEL_SANITIZE})
endif()

# For programs that train: freed memory that is kept (apps/train/memory.h) lies in fewer pieces than glibc's. Linked though nothing
# refers to it: it takes the place of malloc.
find_library(LEXEL_JEMALLOC jemalloc DOC "jemalloc, for `lexel`; empty: the system's allocator")
add_library(lexel_allocator INTERFACE)
if(LEXEL_JEMALLOC AND NOT LEXEL_SANITIZE)
  target_link_libraries(lexel_allocator INTERFACE -Wl,--push-state,--no-as-needed ${LEXEL_JEMALLOC} -Wl,--pop-state)
endif()

# RPATHs of a program or a shared library, the same in the build tree (bin/, lib/) and installed: ../lib, and LibTorch's
# folders by absolute path. In the DT_RPATH form, which also serves the libraries that LibTorch itself needs; DT_RUNPATH
# does not.
function(lexel_rpath target)
  set_target_properties(${target} PROPERTIES
    BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "$ORIGIN/../lib;${LibTorch_LIBRARY_DIRS}")
  target_link_options(${target} PRIVATE LINKER:--disable-new-dtags)
endfunction()

# lexel_add_module(NAME <folder> HEADERS <public .h>... SOURCES <.cpp, private .h>...
#                  [DEPENDS <modules>...] [LIBRARIES <public third party>...] [PRIVATE_LIBRARIES <...>])
#
# The static library lexel_<folder>, alias Lexel::<folder>. What is not in HEADERS is private to the folder and is not
# installed. Every public header is compiled alone by the target all_verify_interface_header_sets.
function(lexel_add_module)
  cmake_parse_arguments(arg "" "NAME" "HEADERS;SOURCES;DEPENDS;LIBRARIES;PRIVATE_LIBRARIES" ${ARGN})
  if(NOT arg_NAME OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "lexel_add_module: expected NAME and known keywords, got ${ARGN}")
  endif()
  set(target lexel_${arg_NAME})
  add_library(${target} STATIC ${arg_SOURCES})
  add_library(Lexel::${arg_NAME} ALIAS ${target})
  set_target_properties(${target} PROPERTIES
    EXPORT_NAME ${arg_NAME} POSITION_INDEPENDENT_CODE ON LINKER_LANGUAGE CXX VERIFY_INTERFACE_HEADER_SETS ON)
  target_sources(${target} PUBLIC
    FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}" FILES ${arg_HEADERS})
  target_compile_features(${target} PUBLIC cxx_std_20)
  list(TRANSFORM arg_DEPENDS PREPEND lexel_)
  target_link_libraries(${target}
    PUBLIC ${arg_DEPENDS} ${arg_LIBRARIES} LibTorch::cpu
    PRIVATE ${arg_PRIVATE_LIBRARIES} $<BUILD_INTERFACE:lexel_options>)
  if(NOT arg_NAME STREQUAL "kernels")  # its sources are compiled for several instruction sets
    lexel_precompile(${target})
  endif()
  install(TARGETS ${target} EXPORT LexelTargets
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/lexel")
endfunction()

# The name of a test or benchmark: its path below tests/, so tests/kernels/philox_test.cpp -> kernels_philox_test.
function(_lexel_path_name out file)
  file(RELATIVE_PATH path "${PROJECT_SOURCE_DIR}/tests" "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
  string(REGEX REPLACE "\\.cpp$" "" path "${path}")
  string(REPLACE "/" "_" path "${path}")
  set(${out} "${path}" PARENT_SCOPE)
endfunction()

function(_lexel_add_program target file modules libraries)
  add_executable(${target} ${file})
  list(TRANSFORM modules PREPEND lexel_)
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_compile_features(${target} PRIVATE cxx_std_20)
  target_link_libraries(${target} PRIVATE ${modules} ${libraries} lexel_options)
  lexel_rpath(${target})
endfunction()

# lexel_add_test(<x_test.cpp> [MODULES <folders>...] [LIBRARIES <targets>...] [TIMEOUT <s>])
#
# One gtest program and one ctest entry a file. The source sees as string literals LEXEL_SOURCE_DIR (the root),
# LEXEL_BIN_DIR (where the programs are), LEXEL_CACHE_DIR (efficientnet-lite0/) and LEXEL_TEST_PYTHON.
function(lexel_add_test file)
  cmake_parse_arguments(arg "" "TIMEOUT" "MODULES;LIBRARIES" ${ARGN})
  _lexel_path_name(name ${file})
  _lexel_add_program(${name} ${file} "${arg_MODULES}" "${arg_LIBRARIES};GTest::gmock;GTest::gtest_main")
  target_compile_definitions(${name} PRIVATE
    LEXEL_SOURCE_DIR="${PROJECT_SOURCE_DIR}" LEXEL_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
    LEXEL_CACHE_DIR="${LEXEL_CACHE_DIR}" LEXEL_TEST_PYTHON="${LEXEL_TEST_PYTHON}")
  lexel_precompile(${name} TEST)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  # One thread a test: ctest runs several at once, and OpenMP's threads that wait for each other on taken cores cost a
  # hundredfold (91 s against 0.8 s for small convolutions at a load of 10).
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} ENVIRONMENT OMP_NUM_THREADS=1)
endfunction()

# lexel_add_benchmark(<x_bench.cpp> [MODULES <folders>...] [LIBRARIES <targets>...])
# A Google Benchmark program, built on request only: `cmake --build --preset release --target benchmarks`.
function(lexel_add_benchmark file)
  cmake_parse_arguments(arg "" "" "MODULES;LIBRARIES" ${ARGN})
  _lexel_path_name(name ${file})
  _lexel_add_program(${name} ${file} "${arg_MODULES}" "${arg_LIBRARIES};benchmark::benchmark_main")
  set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
  if(NOT TARGET benchmarks)
    add_custom_target(benchmarks)
  endif()
  add_dependencies(benchmarks ${name})
endfunction()

# lexel_add_cuda_plugin(SOURCES <.cu, .cpp>... [DEPENDS <modules>...])
#
# liblexel_cuda.so, all CUDA code in one library that a program dlopens when a CUDA device is asked for: who stays on the
# CPU never loads libtorch_cuda. Call it only if(LEXEL_HAVE_CUDA).
function(lexel_add_cuda_plugin)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(lexel_cuda MODULE ${arg_SOURCES})
  list(TRANSFORM arg_DEPENDS PREPEND lexel_)
  target_include_directories(lexel_cuda PRIVATE "${PROJECT_SOURCE_DIR}")
  target_compile_features(lexel_cuda PRIVATE cxx_std_20)
  target_compile_options(lexel_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall --threads=2 --expt-relaxed-constexpr>)
  target_link_libraries(lexel_cuda PRIVATE ${arg_DEPENDS} LibTorch::cuda lexel_options)
  set_target_properties(lexel_cuda PROPERTIES CUDA_RUNTIME_LIBRARY Shared)
  lexel_rpath(lexel_cuda)
  install(TARGETS lexel_cuda LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endfunction()
