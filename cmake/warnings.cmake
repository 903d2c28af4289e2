# Flags that every file of ours is compiled with.
add_library(mr_flags INTERFACE)
target_compile_definitions(mr_flags INTERFACE _GNU_SOURCE MR_VERSION="${PROJECT_VERSION}")
target_compile_options(mr_flags INTERFACE -Wall -Wextra -Wshadow -Wstrict-prototypes
                       -Wmissing-prototypes -Wvla -fno-math-errno -ffp-contract=off)
if(MR_WERROR)
  target_compile_options(mr_flags INTERFACE -Werror)
endif()
if(MR_SANITIZE)
  target_compile_options(mr_flags INTERFACE -fsanitize=${MR_SANITIZE} -fno-omit-frame-pointer
                         -fno-sanitize-recover=all)
  target_link_options(mr_flags INTERFACE -fsanitize=${MR_SANITIZE})
endif()
if(MR_FUZZ)
  target_compile_options(mr_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_include_directories(mr_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
