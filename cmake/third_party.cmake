# dep_uv, dep_cjson, dep_llhttp, dep_pcre2: the only libraries our programs link. No third-party source is
# copied into this repository: they come from Debian packages, and for the static build (musl) from
# Debian's source packages, which `./dev setup` unpacks into build/third-party. libwebsockets is built by
# `./dev setup`, because Debian 12's is too old and Debian's loads its libuv part at run time.

find_package(Threads REQUIRED)

# Always the static llhttp, so that what we build on Debian 12 needs only Debian 12 at run time.
execute_process(COMMAND ${CMAKE_C_COMPILER} -print-multiarch
                OUTPUT_VARIABLE multiarch OUTPUT_STRIP_TRAILING_WHITESPACE)
find_library(LLHTTP_LIBRARY NAMES libllhttp.a PATHS /usr/lib/${multiarch})
find_path(LLHTTP_INCLUDE llhttp.h PATHS /usr/include)
if(NOT LLHTTP_LIBRARY OR NOT LLHTTP_INCLUDE)
  message(FATAL_ERROR "llhttp is not installed: run ./dev setup")
endif()

add_library(dep_uv INTERFACE)
add_library(dep_cjson INTERFACE)
add_library(dep_llhttp INTERFACE)
add_library(dep_pcre2 INTERFACE)
target_link_libraries(dep_llhttp INTERFACE ${LLHTTP_LIBRARY})

if(NOT AGENTD_STATIC)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(UV REQUIRED libuv)
  pkg_check_modules(CJSON REQUIRED libcjson)
  pkg_check_modules(PCRE2 REQUIRED libpcre2-8)
  target_link_libraries(dep_uv INTERFACE uv Threads::Threads)
  target_link_libraries(dep_cjson INTERFACE cjson)
  target_link_libraries(dep_pcre2 INTERFACE pcre2-8)
  pkg_check_modules(SQLITE REQUIRED sqlite3)
  pkg_check_modules(CRYPTO REQUIRED libcrypto libssl)
  add_library(dep_sqlite INTERFACE)
  add_library(dep_crypto INTERFACE)
  add_library(dep_lws INTERFACE)
  target_link_libraries(dep_sqlite INTERFACE sqlite3)
  target_link_libraries(dep_crypto INTERFACE crypto)
  set(lws ${PROJECT_SOURCE_DIR}/build/third-party/lws)
  if(NOT EXISTS ${lws}/lib/libwebsockets.a)
    message(FATAL_ERROR "libwebsockets is not built: run ./dev setup")
  endif()
  target_include_directories(dep_lws SYSTEM INTERFACE ${lws}/include)
  # The terminal of the console page, which the bridge serves. Files, not a library.
  set(xterm_dir ${PROJECT_SOURCE_DIR}/build/third-party/xterm)
  set(xterm_files ${xterm_dir}/xterm.js ${xterm_dir}/xterm.css ${xterm_dir}/addon-fit.js ${xterm_dir}/xterm-license.txt)
  if(NOT EXISTS ${xterm_dir}/package.json)
    message(WARNING "xterm.js is not there, so the console page has no terminal: run ./dev setup")
    set(xterm_files)
  endif()
  target_link_libraries(dep_lws INTERFACE ${lws}/lib/libwebsockets.a ssl crypto uv m Threads::Threads)
  return()
endif()

file(GLOB uv_source ${PROJECT_SOURCE_DIR}/build/third-party/libuv1-*/CMakeLists.txt)
file(GLOB cjson_source ${PROJECT_SOURCE_DIR}/build/third-party/cjson-*/cJSON.c)
file(GLOB pcre2_source ${PROJECT_SOURCE_DIR}/build/third-party/pcre2-*/src/pcre2_compile.c)
if(NOT uv_source OR NOT cjson_source OR NOT pcre2_source)
  message(FATAL_ERROR "build/third-party is not complete: run ./dev setup")
endif()

# What musl-gcc does not bring: the kernel's own headers, and those two of ours that the system
# keeps next to glibc's. A private directory of links, so that glibc's headers stay out of sight.
set(links ${PROJECT_BINARY_DIR}/include)
file(MAKE_DIRECTORY ${links})
cmake_path(GET cjson_source PARENT_PATH cjson_dir)
foreach(link linux=/usr/include/linux asm-generic=/usr/include/asm-generic
             asm=/usr/include/${multiarch}/asm llhttp.h=${LLHTTP_INCLUDE}/llhttp.h
             cjson=${cjson_dir})
  string(REPLACE "=" ";" link ${link})
  list(GET link 0 name)
  list(GET link 1 target)
  file(CREATE_LINK ${target} ${links}/${name} SYMBOLIC)
endforeach()
add_compile_options(-isystem ${links})

set(BUILD_TESTING OFF CACHE INTERNAL "")
set(LIBUV_BUILD_TESTS OFF CACHE INTERNAL "")
cmake_path(GET uv_source PARENT_PATH uv_dir)
add_subdirectory(${uv_dir} third-party/libuv EXCLUDE_FROM_ALL SYSTEM)
target_link_libraries(dep_uv INTERFACE uv_a)

add_library(third_party_cjson STATIC EXCLUDE_FROM_ALL ${cjson_source})
target_link_libraries(dep_cjson INTERFACE third_party_cjson)

# Its own CMake file builds far more than the one library. For size (-Os), not speed: matching is
# machine code of its own making.
option(AGENTD_JIT "regular expressions become machine code; 130 KiB of program" ON)
cmake_path(GET pcre2_source PARENT_PATH pcre2_dir)
set(pcre2_build ${PROJECT_BINARY_DIR}/third-party/pcre2)
configure_file(${pcre2_dir}/config.h.generic ${pcre2_build}/config.h COPYONLY)
configure_file(${pcre2_dir}/pcre2.h.generic ${pcre2_build}/pcre2.h COPYONLY)
configure_file(${pcre2_dir}/pcre2_chartables.c.dist ${pcre2_build}/pcre2_chartables.c COPYONLY)
set(pcre2_sources ${pcre2_build}/pcre2_chartables.c)
foreach(part auto_possess chkdint compile compile_cgroup compile_class config context error extuni find_bracket jit_compile
             maketables match match_data newline ord2utf pattern_info script_run string_utils study
             substring tables ucd valid_utf xclass)
  if(EXISTS ${pcre2_dir}/pcre2_${part}.c) # some are newer than Debian 12
    list(APPEND pcre2_sources ${pcre2_dir}/pcre2_${part}.c)
  endif()
endforeach()
add_library(third_party_pcre2 STATIC EXCLUDE_FROM_ALL ${pcre2_sources})
target_include_directories(third_party_pcre2 SYSTEM PUBLIC ${pcre2_build} PRIVATE ${pcre2_dir})
target_compile_definitions(third_party_pcre2 PUBLIC PCRE2_STATIC
  PRIVATE HAVE_CONFIG_H PCRE2_CODE_UNIT_WIDTH=8 SUPPORT_UNICODE $<$<BOOL:${AGENTD_JIT}>:SUPPORT_JIT>)
target_compile_options(third_party_pcre2 PRIVATE -Os)
target_link_libraries(dep_pcre2 INTERFACE third_party_pcre2)

foreach(lib uv_a third_party_cjson third_party_pcre2)
  target_compile_options(${lib} PRIVATE -w) # their warnings are their authors' to judge
endforeach()
