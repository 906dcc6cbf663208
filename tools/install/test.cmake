# Installs a build into a fresh folder and builds and runs the examples against what lies there, as
# somebody does who has never seen the source tree.
#
#   cmake -DBUILD=build/dev -DEXAMPLES=tools/examples -DWORK=FOLDER -DSHARED=ON -DCOMPILER=g++
#         -DFLAGS= -P test.cmake
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE RESULT OUTPUT_VARIABLE OUTPUT
                  ERROR_VARIABLE OUTPUT)
  if(NOT RESULT EQUAL 0)
    message(FATAL_ERROR "${ARGN}\n${OUTPUT}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
run(${CMAKE_COMMAND} -S ${EXAMPLES} -B ${WORK}/build -DCMAKE_PREFIX_PATH=${WORK}/prefix
    -DBUILD_SHARED_LIBS=${SHARED} -DCMAKE_CXX_COMPILER=${COMPILER} "-DCMAKE_CXX_FLAGS=${FLAGS}")
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${CMAKE_CTEST_COMMAND} --test-dir ${WORK}/build --output-on-failure --no-tests=error)
file(GLOB PC ${WORK}/prefix/lib*/pkgconfig/ptxsmith.pc ${WORK}/prefix/lib*/*/pkgconfig/ptxsmith.pc)
cmake_path(GET PC PARENT_PATH PC_FOLDER)
run(${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${PC_FOLDER} pkg-config --cflags --libs ptxsmith)
