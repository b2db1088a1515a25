# cmake -D FILE=... -D STRIPPED=... -D DEBUG=FOLDER -D OBJCOPY=... -D READELF=... -P strip.cmake
#
# FILE without its debug information becomes STRIPPED, and FOLDER/.build-id/xx/....debug what was left
# out, where debuggers look for it by the build's number, which both have (gdb: "Separate Debug Files").
execute_process(COMMAND ${READELF} --notes --wide ${FILE} OUTPUT_VARIABLE notes COMMAND_ERROR_IS_FATAL ANY)
if(NOT notes MATCHES "Build ID: ([0-9a-f][0-9a-f])([0-9a-f]+)")
  message(FATAL_ERROR "${FILE} has no build ID; the linker's option is --build-id")
endif()
file(REMOVE_RECURSE ${DEBUG})
set(folder ${DEBUG}/.build-id/${CMAKE_MATCH_1})
set(debug ${folder}/${CMAKE_MATCH_2}.debug)
file(MAKE_DIRECTORY ${folder})
execute_process(COMMAND ${OBJCOPY} --only-keep-debug --compress-debug-sections ${FILE} ${debug}
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(
  COMMAND ${OBJCOPY} --strip-unneeded --remove-section=.comment --add-gnu-debuglink=${debug} ${FILE} ${STRIPPED}
  COMMAND_ERROR_IS_FATAL ANY)
# Of what is data, not a program: lintian's and dpkg's way.
file(CHMOD ${debug} PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
