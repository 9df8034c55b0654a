# Run by embed.cmake: writes OUT. A string literal of \x escapes would be easier to read for nobody, and slower
# to compile than numbers.
set(text "#include \"base/embed.h\"\n\n")
set(table "")
set(i 0)
foreach(file ${FILES})
  file(READ ${file} hex HEX)
  string(LENGTH "${hex}" digits)
  math(EXPR size "${digits} / 2")
  string(REGEX REPLACE "(........................................)" "\\1\n" bytes "${hex}") # 20 a line
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  file(RELATIVE_PATH name ${BASE} ${file})
  string(APPEND text "static const unsigned char data_${i}[] = {\n${bytes}0};\n")
  string(APPEND table "\t{\"${name}\", data_${i}, ${size}},\n")
  math(EXPR i "${i} + 1")
endforeach()
string(APPEND text "\nconst struct embedded ${VARIABLE}[] = {\n${table}\t{0, 0, 0},\n};\n")
file(WRITE ${OUT} "${text}")
