# The one list of ops. A line says all that the build must know of an op:
#
#     pixfold_op(NAME [PER_ISA | ONCE] [CUDA] [FILES name...])
#
#   csrc/bindings/NAME.cpp, cuda/bindings/NAME.cpp  define register_NAME(module), which module.cpp calls in this order
#   csrc/cpu/FILE.cpp   kernels for the CPU: PER_ISA, compiled once per instruction set, or ONCE for all of them
#   cuda/FILE.cu        kernels for CUDA, and for tests/cpp the same as host C++
#
# FILES are NAME alone unless they are given. csrc/include/pixfold/ has the contracts.
function(pixfold_op name)
  cmake_parse_arguments(PARSE_ARGV 1 op "PER_ISA;ONCE;CUDA" "" "FILES")
  if(NOT op_FILES)
    set(op_FILES ${name})
  endif()
  set(cpu_files ${op_FILES})
  list(TRANSFORM cpu_files REPLACE "(.+)" "${PROJECT_SOURCE_DIR}/csrc/cpu/\\1.cpp")
  set(cuda_files ${op_FILES})
  list(TRANSFORM cuda_files REPLACE "(.+)" "${PROJECT_SOURCE_DIR}/cuda/\\1.cu")
  foreach(side IN ITEMS PER_ISA ONCE CUDA)
    if(op_${side})
      if(side STREQUAL "CUDA")
        set(files ${cuda_files})
        set(binding cuda)
      else()
        set(files ${cpu_files})
        set(binding csrc)
      endif()
      set_property(GLOBAL APPEND PROPERTY pixfold_${side}_kernels ${files})
      set_property(GLOBAL APPEND PROPERTY pixfold_${binding}_ops ${name})
    endif()
  endforeach()
endfunction()

pixfold_op(fold PER_ISA CUDA FILES fold_dense fold_csr)
pixfold_op(packed PER_ISA CUDA FILES fold_packed packed_stats)
pixfold_op(transpose_packed PER_ISA)
pixfold_op(unfold PER_ISA CUDA)
pixfold_op(gradients PER_ISA CUDA FILES fold_gradient unfold_gradient)
pixfold_op(column_stats PER_ISA CUDA FILES column_stats column_stats_csr)
pixfold_op(row_sums PER_ISA CUDA)
pixfold_op(census PER_ISA CUDA)
pixfold_op(aggregate PER_ISA CUDA)
pixfold_op(rank ONCE CUDA)
pixfold_op(limits ONCE)

# The kernel files of a side: PER_ISA, ONCE or CUDA.
function(pixfold_kernels side result)
  get_property(files GLOBAL PROPERTY pixfold_${side}_kernels)
  set(${result} ${files} PARENT_SCOPE)
endfunction()

# Gives a module the bindings of its ops: those in ${PROJECT_SOURCE_DIR}/FOLDER/bindings, csrc or cuda. Its module.cpp
# takes their names from ops.inc.
function(pixfold_bind target folder)
  get_property(names GLOBAL PROPERTY pixfold_${folder}_ops)
  set(ops "")
  foreach(name IN LISTS names)
    target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/${folder}/bindings/${name}.cpp)
    string(APPEND ops "PIXFOLD_OP(${name})\n")
  endforeach()
  file(GENERATE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/${target}/ops.inc CONTENT "${ops}")
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/${target} ${PROJECT_SOURCE_DIR}/csrc)
  # Much of what a file of bindings compiles is pybind11: some of them at once take little more time than one.
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 4)
endfunction()
