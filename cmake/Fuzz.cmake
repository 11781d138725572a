# libFuzzer programs (tests/fuzz; preset fuzz): what reads bytes from outside, instrumented, and nothing else of the
# rooms, so that `ninja fuzzers` takes a minute. LibTorch and Debian's libraries are as they always are.

file(GLOB fuzzed_sources CONFIGURE_DEPENDS
  src/base/*.cpp src/config/*.cpp src/config/yaml/*.cpp src/device/*.cpp src/weights/*.cpp
  src/models/tokenizers/*.cpp src/models/tokenizers/icu/*.cpp)
add_library(rushes_fuzzed STATIC EXCLUDE_FROM_ALL ${fuzzed_sources}
  kernels/common/brgemm.cpp
  src/dist/comm.cpp
  src/attention/fastest_attention.cpp
  src/models/dits/wan_config.cpp
  src/models/encoders/t5_config.cpp
  src/models/schedulers/flow_match_euler.cpp
  src/models/schedulers/sigma_schedules.cpp
  src/models/schedulers/unipc_config.cpp
  src/models/vaes/wan_vae_config.cpp
  src/models/vaes/wan_vae_cost.cpp
  src/jobs/claims.cpp
  src/jobs/events.cpp
  src/jobs/output_folder.cpp
  src/jobs/owner.cpp
  src/jobs/presets.cpp
  src/jobs/progress.cpp
  src/jobs/prompts.cpp
  src/jobs/record.cpp
  src/jobs/resolution.cpp
  src/jobs/run_metrics.cpp
  src/jobs/sites.cpp
  src/jobs/slurm.cpp
  src/jobs/status.cpp
  src/jobs/video_folder.cpp
  src/planner/cluster.cpp
  src/regression/clip_files.cpp
  src/regression/history.cpp
  src/regression/references.cpp
  src/weights/hub/model_id.cpp)
# What writes a history compares clips, which no target does.
set_source_files_properties(src/regression/history.cpp PROPERTIES COMPILE_OPTIONS -ffunction-sections)
target_link_libraries(rushes_fuzzed PUBLIC rushes_flags PkgConfig::yaml_cpp PkgConfig::icu Threads::Threads)
target_include_directories(rushes_fuzzed PRIVATE "${PROJECT_BINARY_DIR}/generated")
add_dependencies(rushes_fuzzed rushes_version)
rushes_torch_pch(rushes_fuzzed)

add_custom_target(fuzzers)
file(GLOB programs CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/fuzz/fuzz_*.cpp")
foreach(program IN LISTS programs)
  get_filename_component(name ${program} NAME_WE)
  add_executable(${name} EXCLUDE_FROM_ALL ${program})
  # Those that name no tensor do without LibTorch, which takes a second to load.
  target_link_options(${name} PRIVATE -fsanitize=fuzzer -Wl,--as-needed,--gc-sections)
  target_link_libraries(${name} PRIVATE rushes_fuzzed)
  rushes_torch_pch(${name})
  add_dependencies(fuzzers ${name})
endforeach()
