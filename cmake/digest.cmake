# cmake -DOUT=file -DTEXT=text -DFILES=list -P digest.cmake: a C string literal with a digest of the text and the
# files' contents, to OUT.
set(all "${TEXT}")
foreach(file ${FILES})
  file(SHA256 ${file} one)
  string(APPEND all " ${one}")
endforeach()
string(SHA256 digest "${all}")
string(SUBSTRING ${digest} 0 16 digest)
file(WRITE ${OUT} "\"${digest}\"\n")
