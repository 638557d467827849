# Installs the build into a prefix of its own, then configures, builds and runs tests/package against that alone.
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE rc OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT rc EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "${command}\n${text}")
  endif()
endfunction()

get_filename_component(ROOT "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)

# The program is the README's, to the letter.
file(READ "${CMAKE_CURRENT_LIST_DIR}/main.cpp" program)
file(READ "${ROOT}/README.md" readme)
string(FIND "${readme}" "${program}" place)
if(place EQUAL -1)
  message(FATAL_ERROR "README.md does not show tests/package/main.cpp as it is")
endif()

file(REMOVE_RECURSE "${WORK}")
run(${CMAKE_COMMAND} --install "${LEXEL_BUILD}" --prefix "${WORK}/prefix")
run(${CMAKE_COMMAND} -G Ninja -S "${CMAKE_CURRENT_LIST_DIR}" -B "${WORK}/build" -DCMAKE_BUILD_TYPE=Release
  "-DCMAKE_PREFIX_PATH=${WORK}/prefix" "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}")
run(${CMAKE_COMMAND} --build "${WORK}/build")
run("${WORK}/build/uses_lexel" "${ROOT}/assets/lexel-128.safetensors" "${ROOT}/assets/pictures/coffee.jpg" "${WORK}/back.png")
file(REMOVE_RECURSE "${WORK}")
