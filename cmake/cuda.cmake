# The CUDA kernels: whether they can be built, and how.
#
# nvcc makes an object of each .cu file, and that is all it does: everything else is C and linked as C,
# with the static runtime and without libstdc++ (the kernels use neither exceptions nor guarded
# statics). So a program is linked the same way with and without them, also under sanitizers.
#
# MR_CUDA        AUTO: where nvcc is found and compiles; ON: or stop; OFF
# MR_CUDA_ARCHS  GPUs to make code for. 80 runs on 86 too (on 89 without FP8), 100 on 103, 120 on 121; the driver
#                compiles the PTX of the first one for those that are not listed, at the first start.
# MR_NCCL        ON: GPUs can share the layers of a model (tensor_parallel); needs MR_CUDA and NCCL, whose
#                nccl.h and libnccl are looked for in the usual places and in MR_NCCL_ROOT
# MR_CUBLAS_DIR  where to look for include/cublasLt.h, beside nvcc's own. Only the header is needed: the library is
#                loaded by programs that are told to use it (engine/cuda/library.c).
set(MR_CUDA AUTO CACHE STRING "CUDA backend: AUTO, ON or OFF")
set_property(CACHE MR_CUDA PROPERTY STRINGS AUTO ON OFF)
set(MR_CUDA_ARCHS "80;89;90;100;120" CACHE STRING "Compute capabilities, without the dot")
option(MR_NCCL "Tensor parallelism with NCCL" OFF)
set(MR_NCCL_ROOT "" CACHE PATH "Where NCCL is, if not in the usual places")
set(MR_CUDA_FOUND OFF)

# Unused functions: with clang as its host compiler nvcc finds those of CUDA's own headers.
set(mr_nvcc_flags -std=c++17 -O3 --fmad=false -Xcompiler=-fPIC,-fno-exceptions,-fno-threadsafe-statics
    -Xcompiler=-Wall,-Wextra,-Wno-unused-function -I${PROJECT_SOURCE_DIR} -I${PROJECT_SOURCE_DIR}/include)
if(MR_WERROR)
  list(APPEND mr_nvcc_flags -Werror=all-warnings)
endif()

# mr_check_cuda(<why>): why not, or an empty string; asks nvcc once per build folder.
function(mr_check_cuda why)
  set(${why} "" PARENT_SCOPE)
  find_program(MR_NVCC nvcc HINTS /usr/local/cuda/bin ENV CUDA_PATH PATH_SUFFIXES bin)
  if(NOT MR_NVCC)
    set(${why} "nvcc is not found" PARENT_SCOPE)
    return()
  endif()
  get_filename_component(bin ${MR_NVCC} REALPATH)
  get_filename_component(bin ${bin} DIRECTORY)
  find_path(MR_CUDA_INCLUDE cuda_runtime_api.h HINTS ${bin}/../include)
  find_library(MR_CUDART cudart_static HINTS ${bin}/../lib64 ${bin}/../lib)
  if(NOT MR_CUDA_INCLUDE OR NOT MR_CUDART)
    set(${why} "the runtime of ${MR_NVCC} is not found" PARENT_SCOPE)
    return()
  endif()
  if(NOT MR_NVCC_WORKS)
    set(probe ${CMAKE_BINARY_DIR}/cuda_probe.cu)
    file(WRITE ${probe} "#include <cuda_fp16.h>
__global__ void probe(const __grid_constant__ float4 a, float *x) { x[threadIdx.x] = a.x; }\n")
    execute_process(COMMAND ${MR_NVCC} -std=c++17 -arch=sm_80 -c ${probe} -o ${probe}.o
                    RESULT_VARIABLE rc OUTPUT_QUIET ERROR_VARIABLE text)
    if(NOT rc EQUAL 0)
      set(${why} "nvcc does not compile: ${text}" PARENT_SCOPE)
      return()
    endif()
    set(MR_NVCC_WORKS ON CACHE INTERNAL "nvcc compiled a kernel")
  endif()
endfunction()

# Those of MR_CUDA_ARCHS that this nvcc knows, as its flags; the lowest as PTX too, which every later
# GPU can run.
function(mr_cuda_arch_flags out)
  execute_process(COMMAND ${MR_NVCC} --list-gpu-arch OUTPUT_VARIABLE known)
  set(archs)
  foreach(arch ${MR_CUDA_ARCHS})
    if(known MATCHES "compute_${arch}\n")
      list(APPEND archs ${arch})
    else()
      message(STATUS "CUDA kernels: not for ${arch}, which this nvcc does not know")
    endif()
  endforeach()
  list(SORT archs COMPARE NATURAL)
  if(NOT archs)
    message(FATAL_ERROR "MR_CUDA_ARCHS: ${MR_NVCC} knows none of ${MR_CUDA_ARCHS}")
  endif()
  set(flags)
  foreach(arch ${archs})
    list(APPEND flags -gencode=arch=compute_${arch},code=sm_${arch})
  endforeach()
  list(GET archs 0 first)
  list(APPEND flags -gencode=arch=compute_${first},code=compute_${first})
  set(${out} ${flags} PARENT_SCOPE)
endfunction()

# mr_add_kernels(<target> <file.cu>...)
function(mr_add_kernels target)
  mr_cuda_arch_flags(archs)
  foreach(file ${ARGN})
    get_filename_component(name ${file} NAME_WE)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.cu.o)
    add_custom_command(OUTPUT ${object}
      COMMAND ${MR_NVCC} ${mr_nvcc_flags} ${archs} -MD -MF ${object}.d
              -c ${CMAKE_CURRENT_SOURCE_DIR}/${file} -o ${object}
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${file} DEPFILE ${object}.d
      COMMENT "Building CUDA object ${file}" VERBATIM)
    target_sources(${target} PRIVATE ${object})
  endforeach()
  target_include_directories(${target} SYSTEM PRIVATE ${MR_CUDA_INCLUDE})
  target_link_libraries(${target} PUBLIC ${MR_CUDART} Threads::Threads dl rt)
endfunction()

if(MR_CUDA)
  mr_check_cuda(why)
  if(NOT why)
    set(MR_CUDA_FOUND ON)
    message(STATUS "CUDA kernels: ${MR_NVCC}, for ${MR_CUDA_ARCHS}")
    find_path(MR_CUBLASLT_INCLUDE cublasLt.h HINTS ${MR_CUBLAS_DIR} ${MR_CUDA_INCLUDE} PATH_SUFFIXES include)
    if(MR_CUBLASLT_INCLUDE)
      set(MR_HAVE_CUBLASLT ON)
      message(STATUS "cuBLASLt: ${MR_CUBLASLT_INCLUDE}")
    else()
      set(MR_HAVE_CUBLASLT OFF)
      message(STATUS "cuBLASLt is not used: cublasLt.h is not found")
    endif()
  elseif(MR_CUDA STREQUAL "AUTO")
    message(STATUS "CUDA kernels are not built: ${why}")
  else()
    message(FATAL_ERROR "MR_CUDA: ${why}")
  endif()
endif()

if(MR_NCCL)
  if(NOT MR_CUDA_FOUND)
    message(FATAL_ERROR "MR_NCCL: it needs the CUDA kernels (MR_CUDA), and they are not built")
  endif()
  find_path(MR_NCCL_INCLUDE nccl.h HINTS ${MR_NCCL_ROOT} PATH_SUFFIXES include)
  find_library(MR_NCCL_LIBRARY nccl HINTS ${MR_NCCL_ROOT} PATH_SUFFIXES lib64 lib)
  if(NOT MR_NCCL_INCLUDE)
    message(FATAL_ERROR "MR_NCCL: nccl.h is not found; MR_NCCL_ROOT says where NCCL is")
  elseif(NOT MR_NCCL_LIBRARY)
    message(FATAL_ERROR "MR_NCCL: libnccl is not found; MR_NCCL_ROOT says where NCCL is")
  endif()
  message(STATUS "Tensor parallelism: ${MR_NCCL_LIBRARY}")
endif()
