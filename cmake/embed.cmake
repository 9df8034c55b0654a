# embed(<target> <variable> FILES <files> [BASE <directory>])
#
# Makes a C file out of files and adds it to <target>: `const struct embedded <variable>[]` of base/embed.h,
# with the files' names below BASE, sorted, and their bytes; the last entry has no name. Made anew when one of the
# files changes.
function(embed target variable)
  cmake_parse_arguments(arg "" "BASE" "FILES" ${ARGN})
  set(out ${PROJECT_BINARY_DIR}/embed/${variable}.c)
  list(SORT arg_FILES)
  add_custom_command(
    OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DVARIABLE=${variable} -DBASE=${arg_BASE} "-DFILES=${arg_FILES}"
            -P ${PROJECT_SOURCE_DIR}/cmake/embed_file.cmake
    DEPENDS ${arg_FILES} ${PROJECT_SOURCE_DIR}/cmake/embed_file.cmake
    COMMENT "Embedding ${variable}" VERBATIM)
  target_sources(${target} PRIVATE ${out})
endfunction()
