# LibTorch out of a PyPI wheel, as imported targets of our own: torch's own CMake package refuses to load where
# there is no CUDA toolkit, although the wheel's CPU half works there.
#
#   RUSHES_TORCH_DIR   .../site-packages/torch   (default: asked of RUSHES_PYTHON)
# Gives: torch::cpu (headers, c10, torch_cpu) and, with RUSHES_CUDA, torch::cuda.

if(NOT RUSHES_TORCH_DIR)
  find_program(RUSHES_PYTHON NAMES python3 REQUIRED)
  execute_process(
    COMMAND ${RUSHES_PYTHON} -c
            "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
    OUTPUT_VARIABLE torch_dir OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE torch_missing)
  if(torch_missing)
    message(FATAL_ERROR "No torch for ${RUSHES_PYTHON}. Run tools/setup, or set RUSHES_PYTHON or RUSHES_TORCH_DIR.")
  endif()
  set(RUSHES_TORCH_DIR "${torch_dir}" CACHE PATH "the folder of the torch package (with include/ and lib/)")
endif()
if(NOT EXISTS "${RUSHES_TORCH_DIR}/include/ATen/ATen.h")
  message(FATAL_ERROR "RUSHES_TORCH_DIR=${RUSHES_TORCH_DIR} holds no include/ATen/ATen.h")
endif()

function(rushes_torch_library name file)
  add_library(${name} SHARED IMPORTED GLOBAL)
  set_target_properties(${name} PROPERTIES IMPORTED_LOCATION "${RUSHES_TORCH_DIR}/lib/${file}"
                                           IMPORTED_NO_SONAME OFF)
endfunction()

rushes_torch_library(torch::c10 libc10.so)
rushes_torch_library(torch::torch_cpu libtorch_cpu.so)
add_library(torch_headers INTERFACE)
target_include_directories(torch_headers SYSTEM INTERFACE
  "${RUSHES_TORCH_DIR}/include" "${RUSHES_TORCH_DIR}/include/torch/csrc/api/include")
target_compile_definitions(torch_headers INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
add_library(torch_cpu_all INTERFACE)
target_link_libraries(torch_cpu_all INTERFACE torch_headers torch::torch_cpu torch::c10)
add_library(torch::cpu ALIAS torch_cpu_all)

# at::parallel_for is a template of ATen's headers: compiled without OpenMP, its loops are serial without a word. It has
# to run on the very OpenMP runtime that torch was linked with, a second one would bring threads of its own.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  file(GLOB torch_gomp "${RUSHES_TORCH_DIR}/lib/libgomp*.so*")
  list(LENGTH torch_gomp torch_gomp_count)
  target_compile_options(torch_cpu_all INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
  if(torch_gomp_count EQUAL 1)
    add_library(torch::gomp SHARED IMPORTED GLOBAL)
    set_target_properties(torch::gomp PROPERTIES IMPORTED_LOCATION "${torch_gomp}" IMPORTED_NO_SONAME OFF)
    target_link_libraries(torch_cpu_all INTERFACE torch::gomp)
  else()
    find_package(OpenMP REQUIRED COMPONENTS CXX)  # a LibTorch that was built for this system's
    target_link_libraries(torch_cpu_all INTERFACE OpenMP::OpenMP_CXX)
  endif()
endif()

# The wheels' own libraries (libcudart, libcupti, libcudnn, ...) lie beside torch; torch's RPATH finds them at run
# time, and the linker needs to be told the same places.
file(GLOB torch_nvidia_libs "${RUSHES_TORCH_DIR}/../nvidia/*/lib")
set(torch_rpath "${RUSHES_TORCH_DIR}/lib" ${torch_nvidia_libs})
foreach(dir IN LISTS torch_rpath)
  target_link_options(torch_cpu_all INTERFACE "-Wl,-rpath-link,${dir}")
endforeach()

if(RUSHES_CUDA)
  rushes_torch_library(torch::c10_cuda libc10_cuda.so)
  rushes_torch_library(torch::torch_cuda libtorch_cuda.so)
  add_library(torch_cuda_all INTERFACE)
  # torch_cuda registers its kernels when it is loaded and no symbol of it need be named: keep it linked.
  target_link_libraries(torch_cuda_all INTERFACE
    torch_cpu_all "-Wl,--no-as-needed" torch::torch_cuda torch::c10_cuda "-Wl,--as-needed" CUDA::cudart)
  add_library(torch::cuda ALIAS torch_cuda_all)

  # NCCL as torch's own wheel brings it; a LibTorch without it makes a program whose GPUs talk through host memory.
  set(nccl "${RUSHES_TORCH_DIR}/../nvidia/nccl")
  if(EXISTS "${nccl}/include/nccl.h" AND EXISTS "${nccl}/lib/libnccl.so.2")
    add_library(torch::nccl SHARED IMPORTED GLOBAL)
    set_target_properties(torch::nccl PROPERTIES IMPORTED_LOCATION "${nccl}/lib/libnccl.so.2"
                                                 INTERFACE_INCLUDE_DIRECTORIES "${nccl}/include")
  endif()
endif()
