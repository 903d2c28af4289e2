# Files as C arrays: cmake -DFOLDER=... -DOUT=file.c -DFILES=name=type,name=type -P embed.cmake
#
# The result is a table of dispatcher/page_files.h. index.html is served at /, each other file at
# /<name>.
set(arrays "")
set(rows "")
string(REPLACE "," ";" entries "${FILES}")
foreach(entry ${entries})
  string(REGEX MATCH "^[^=]+" name "${entry}")
  string(REGEX REPLACE "^[^=]+=" "" type "${entry}")
  if(type MATCHES "^text/")
    string(APPEND type "; charset=utf-8")
  endif()
  string(MAKE_C_IDENTIFIER ${name} id)
  file(READ ${FOLDER}/${name} hex HEX)
  string(LENGTH "${hex}" digits)
  math(EXPR bytes "${digits} / 2")
  string(REGEX REPLACE "(................................)" "\\1\n    " hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
  string(APPEND arrays "static const unsigned char ${id}[] = {\n    ${hex}\n};\n\n")
  if(name STREQUAL "index.html")
    set(path "/")
  else()
    set(path "/${name}")
  endif()
  string(APPEND rows "    {\"${path}\", \"${type}\", ${id}, ${bytes}},\n")
endforeach()
set(code "/* Made by cmake/embed.cmake. */
#include \"dispatcher/page_files.h\"

${arrays}const mr_page_file mr_page_files[] = {
${rows}    {0}};
")
file(WRITE ${OUT} "${code}")
