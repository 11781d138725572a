# Paths of a build and of a bundle (tools/bundle), where libraries lie in lib/ beside bin/. DT_RPATH, not RUNPATH:
# libraries find theirs by the path of whoever loaded them, which RUNPATH does not hand on, and Debian's have no path of
# their own. librushes.so gets its path of $ORIGIN from tools/bundle.
set(targets rushes rushes_library)
if(RUSHES_CUDA)
  list(APPEND targets rushes_cuda)
endif()
foreach(target IN LISTS targets)
  target_link_options(${target} PRIVATE -Wl,--disable-new-dtags)
endforeach()
set_target_properties(rushes PROPERTIES BUILD_RPATH "$ORIGIN/../lib")
