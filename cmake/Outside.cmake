# Debian's libraries, each wrapped as PkgConfig::<name> or found by CMake.
find_package(PkgConfig REQUIRED)
pkg_check_modules(yaml_cpp REQUIRED IMPORTED_TARGET yaml-cpp)
pkg_check_modules(ffmpeg REQUIRED IMPORTED_TARGET libavcodec libavformat libavutil libswscale)
pkg_check_modules(icu REQUIRED IMPORTED_TARGET icu-uc)
find_package(MPI REQUIRED COMPONENTS CXX)
find_path(CXXOPTS_INCLUDE cxxopts.hpp REQUIRED)
add_library(cxxopts_headers INTERFACE)
target_include_directories(cxxopts_headers SYSTEM INTERFACE "${CXXOPTS_INCLUDE}")
