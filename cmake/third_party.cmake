# dep_uv, dep_cjson, dep_llhttp: the only libraries our programs link. No third-party source is
# copied into this repository: they come from Debian packages, and for the static build (musl) from
# Debian's source packages, which `./dev setup` unpacks into build/third-party.

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
target_link_libraries(dep_llhttp INTERFACE ${LLHTTP_LIBRARY})

if(NOT AGENTD_STATIC)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(UV REQUIRED libuv)
  pkg_check_modules(CJSON REQUIRED libcjson)
  target_link_libraries(dep_uv INTERFACE uv Threads::Threads)
  target_link_libraries(dep_cjson INTERFACE cjson)
  return()
endif()

file(GLOB uv_source ${PROJECT_SOURCE_DIR}/build/third-party/libuv1-*/CMakeLists.txt)
file(GLOB cjson_source ${PROJECT_SOURCE_DIR}/build/third-party/cjson-*/cJSON.c)
if(NOT uv_source OR NOT cjson_source)
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

foreach(lib uv_a third_party_cjson)
  target_compile_options(${lib} PRIVATE -w) # their warnings are their authors' to judge
endforeach()
