# Sanitizers for the whole build. The first finding ends the program, so that a test cannot pass over it.
if(VITRAIL_SANITIZE)
  # -O1: the stacks stay readable and the build takes half the time.
  add_compile_options(-fsanitize=${VITRAIL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1 -O1)
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
  add_link_options(-fsanitize=${VITRAIL_SANITIZE})
endif()
