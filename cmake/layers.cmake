# layer(<name> SOURCES <globs> [EXCEPT <globs>] LINK <targets>)   a static library
# program(<name> SOURCES <globs> LINK <targets>)                  an executable
#
# Both cope with a folder that is still empty: a layer without sources is an interface library that
# only passes its links on; a program without sources is left out.

function(house_glob out)
  cmake_parse_arguments(arg "" "" "SOURCES;EXCEPT" ${ARGN})
  file(GLOB found CONFIGURE_DEPENDS ${arg_SOURCES})
  if(arg_EXCEPT)
    file(GLOB except CONFIGURE_DEPENDS ${arg_EXCEPT})
    list(REMOVE_ITEM found ${except})
  endif()
  set(${out} ${found} PARENT_SCOPE)
endfunction()

function(layer name)
  cmake_parse_arguments(arg "" "" "SOURCES;EXCEPT;LINK" ${ARGN})
  house_glob(sources SOURCES ${arg_SOURCES} EXCEPT ${arg_EXCEPT})
  if(sources)
    add_library(${name} STATIC ${sources})
    target_link_libraries(${name} PUBLIC ${arg_LINK} PRIVATE house)
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE ${arg_LINK})
  endif()
endfunction()

function(program name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  house_glob(sources SOURCES ${arg_SOURCES})
  if(sources)
    add_executable(${name} ${sources})
    target_link_libraries(${name} PRIVATE ${arg_LINK} house)
  endif()
endfunction()
