# cmake -D BUILD=... -D PROGRAM=... -D NAME=... -D COMPONENTS=a,b -D EPOCH=... -P tarball.cmake
#
# NAME.tar.gz in BUILD: what `cmake --install` puts below /opt/portpool, with PROGRAM in the place of
# poold, and beside it all libraries that it needs but glibc's.
if(DEFINED ENV{SOURCE_DATE_EPOCH})
  set(EPOCH $ENV{SOURCE_DATE_EPOCH})
endif()
set(stage ${BUILD}/tarball)
set(root ${stage}/opt/portpool)
file(REMOVE_RECURSE ${stage})
string(REPLACE "," ";" COMPONENTS ${COMPONENTS})
foreach(component IN LISTS COMPONENTS)
  execute_process(
    COMMAND ${CMAKE_COMMAND} -E env DESTDIR=${stage}
      ${CMAKE_COMMAND} --install ${BUILD} --prefix /opt/portpool --component ${component}
    OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
endforeach()
file(INSTALL ${PROGRAM} DESTINATION ${root}/bin USE_SOURCE_PERMISSIONS)

# Those of glibc fit each other and the kernel alone: they are the system's.
file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${PROGRAM}
  RESOLVED_DEPENDENCIES_VAR libraries UNRESOLVED_DEPENDENCIES_VAR missing
  PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|pthread|resolv)\\.so")
if(missing)
  message(FATAL_ERROR "not found: ${missing}")
endif()
file(INSTALL ${libraries} DESTINATION ${root}/lib/poold FOLLOW_SYMLINK_CHAIN)

# Whoever hands them on hands on under which terms.
find_program(dpkg_query dpkg-query)
foreach(library IN LISTS libraries)
  if(NOT dpkg_query)
    break()
  endif()
  file(REAL_PATH ${library} real)
  # As dpkg knows it, where /lib is a link to /usr/lib.
  foreach(path ${library} ${real} /usr${library} /usr${real})
    execute_process(COMMAND ${dpkg_query} --search ${path} OUTPUT_VARIABLE owner ERROR_QUIET)
    string(REGEX REPLACE ":.*" "" package "${owner}")
    string(STRIP "${package}" package)
    if(package AND EXISTS /usr/share/doc/${package}/copyright)
      file(COPY_FILE /usr/share/doc/${package}/copyright ${root}/share/doc/poold/copyright.${package})
      break()
    endif()
  endforeach()
endforeach()

file(RENAME ${root} ${stage}/${NAME})
file(REMOVE_RECURSE ${stage}/opt)
find_program(tar tar REQUIRED)
find_program(gzip gzip REQUIRED)
execute_process(
  COMMAND ${tar} --create --directory ${stage} --sort=name --owner=0 --group=0 --numeric-owner
    --mode=u=rwX,go=rX --mtime=@${EPOCH} ${NAME}
  COMMAND ${gzip} -9n OUTPUT_FILE ${BUILD}/${NAME}.tar.gz COMMAND_ERROR_IS_FATAL ANY)
message(STATUS "${BUILD}/${NAME}.tar.gz")
