# Sanitizers for the whole build. The first finding ends the program, so that a test cannot pass over it.
if(VITRAIL_SANITIZE)
  # -O0: with optimization the instrumented references take GCC three times as long as they take to run.
  add_compile_options(-fsanitize=${VITRAIL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1 -O0)
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
  add_link_options(-fsanitize=${VITRAIL_SANITIZE})
endif()
