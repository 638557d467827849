# Installs the build into a prefix of its own, then configures, builds and runs tests/package against that alone.
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE rc OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT rc EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "${command}\n${text}")
  endif()
endfunction()

get_filename_component(ROOT "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)

# The programs are those of the READMEs, to the letter.
function(expect_in_readme readme program)
  file(READ "${CMAKE_CURRENT_LIST_DIR}/${program}" text)
  file(READ "${ROOT}/${readme}" page)
  string(FIND "${page}" "${text}" place)
  if(place EQUAL -1)
    message(FATAL_ERROR "${readme} does not show tests/package/${program} as it is")
  endif()
endfunction()
expect_in_readme(README.md main.cpp)
expect_in_readme(autoregressive/README.md draw.cpp)

file(REMOVE_RECURSE "${WORK}")
run(${CMAKE_COMMAND} --install "${LEXEL_BUILD}" --prefix "${WORK}/prefix")
run(${CMAKE_COMMAND} -G Ninja -S "${CMAKE_CURRENT_LIST_DIR}" -B "${WORK}/build" -DCMAKE_BUILD_TYPE=Release
  "-DCMAKE_PREFIX_PATH=${WORK}/prefix" "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}")
run(${CMAKE_COMMAND} --build "${WORK}/build")
run("${WORK}/build/uses_lexel" "${ROOT}/assets/lexel-128.safetensors" "${ROOT}/assets/pictures/coffee.jpg" "${WORK}/back.png")
if(EXISTS "${ROOT}/assets/parti-128.safetensors")
  run("${WORK}/build/draw" "${ROOT}/assets/parti-128.safetensors" "${ROOT}/assets/lexel-128.safetensors"
    "a red fish" "${WORK}/fish.png")
endif()
file(REMOVE_RECURSE "${WORK}")
