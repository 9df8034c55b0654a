# Target `house`: how every file of ours is compiled. Third-party sources do not link it, so our
# warnings never meet their code.
include(CheckCCompilerFlag)

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON) # gnu11

add_library(house INTERFACE)
target_include_directories(house INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(house INTERFACE
  _GNU_SOURCE= # empty, so that a file may also say #define _GNU_SOURCE
  AGENTD_VERSION="${PROJECT_VERSION}")
target_compile_options(house INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wvla
  -Wformat=2 -Wundef -Wpointer-arith -Wimplicit-fallthrough
  $<$<BOOL:${AGENTD_WERROR}>:-Werror>)

if(AGENTD_SANITIZE)
  # A finding ends the program: a test must not pass over it.
  set(sanitize -fsanitize=${AGENTD_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(house INTERFACE ${sanitize})
  target_link_options(house INTERFACE ${sanitize})
  # Instrumented code leads gcc's flow analysis astray; the release and static presets keep these.
  target_compile_options(house INTERFACE
    $<$<C_COMPILER_ID:GNU>:-Wno-maybe-uninitialized;-Wno-stringop-overread;-Wno-stringop-overflow>)
endif()

if(AGENTD_HARDEN)
  target_compile_options(house INTERFACE -fstack-protector-strong -fstack-clash-protection)
  check_c_compiler_flag(-fcf-protection HAVE_CF_PROTECTION) # x86 only
  if(HAVE_CF_PROTECTION)
    target_compile_options(house INTERFACE -fcf-protection)
  endif()
  if(NOT AGENTD_STATIC) # musl has no fortified calls, and a static program no dynamic relocations
    target_compile_options(house INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fPIE)
    target_link_options(house INTERFACE -pie -Wl,-z,relro,-z,now,-z,noexecstack)
  endif()
endif()

if(AGENTD_STATIC)
  # Directory-wide, so that it also reaches libuv and cJSON, which are compiled along.
  add_compile_options(-ffunction-sections -fdata-sections -fno-pie
                      -fno-asynchronous-unwind-tables -fno-unwind-tables)
  add_link_options(-static -no-pie -s -Wl,--gc-sections,--build-id=none,-z,noexecstack)
endif()
