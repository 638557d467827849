# lexel_precompile(<target> [TEST]): parses the large headers that most sources include once for all of them. A source of ours
# compiles in about half of the time; four fifths of it were LibTorch, gtest and JSON. Every source still includes what it uses: the presets
# debug and asan build without.

option(LEXEL_PRECOMPILED_HEADERS "Parse large headers once (faster builds)" ON)

set(_lexel_precompiled <ATen/TensorOperators.h> <ATen/core/Tensor.h> <algorithm> <cstdint> <filesystem> <functional> <map> <memory>
  <nlohmann/json.hpp> <optional> <sstream> <string> <vector>)

function(lexel_precompile target)
  if(NOT LEXEL_PRECOMPILED_HEADERS)
    return()
  endif()
  if("TEST" IN_LIST ARGN)
    if(NOT TARGET lexel_test_precompiled)
      set(empty "${PROJECT_BINARY_DIR}/test_precompiled.cpp")
      file(CONFIGURE OUTPUT "${empty}" CONTENT "// owns the precompiled headers of all tests\n")
      add_library(lexel_test_precompiled OBJECT "${empty}")
      target_compile_features(lexel_test_precompiled PRIVATE cxx_std_20)
      target_link_libraries(lexel_test_precompiled PRIVATE LibTorch::cpu GTest::gmock lexel_options)
      target_precompile_headers(lexel_test_precompiled PRIVATE ${_lexel_precompiled} <gmock/gmock.h> <gtest/gtest.h>)
      _lexel_readable_by_ccache(lexel_test_precompiled)
    endif()
    target_precompile_headers(${target} REUSE_FROM lexel_test_precompiled)
  else()
    target_precompile_headers(${target} PRIVATE ${_lexel_precompiled})
  endif()
  _lexel_readable_by_ccache(${target})
endfunction()

# ccache takes precompiled headers only when told that their macros and times do not matter, which lexel_precompile's keep.
function(_lexel_readable_by_ccache target)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
  endif()
endfunction()
