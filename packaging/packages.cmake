# Debian packages:  cpack --config build/release/CPackConfig.cmake -B build/packages
#
# poold: the daemon with its unit, user and configuration. libportpool1: the library alone, which
# needs libc and nothing else. lib32portpool1: the library for programs of 32 bits. Each with -dbgsym:
# its debug information.
set(CPACK_PACKAGE_NAME portpool)
set(CPACK_PACKAGE_VENDOR "the portpool authors")
set(CPACK_PACKAGE_CONTACT "the portpool authors <portpool@users.noreply.github.com>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "source ports for programs that open many outgoing connections")
set(CPACK_GENERATOR DEB)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_SET_DESTDIR ON)  # CMAKE_INSTALL_PREFIX is /usr then, not a folder of cpack's
set(components poold libportpool1)
if(TARGET portpool32)
  list(APPEND components lib32portpool1)
endif()
set(CPACK_COMPONENTS_ALL ${components})
foreach(component IN LISTS components)
  list(APPEND CPACK_COMPONENTS_ALL ${component}_dbgsym)
  string(TOUPPER ${component}_DBGSYM debug)
  set(CPACK_DEBIAN_${debug}_PACKAGE_NAME ${component}-dbgsym)
  set(CPACK_DEBIAN_${debug}_PACKAGE_SECTION debug)
  set(CPACK_DEBIAN_${debug}_PACKAGE_PRIORITY optional)
  set(CPACK_DEBIAN_${debug}_PACKAGE_SHLIBDEPS OFF)
  set(CPACK_DEBIAN_${debug}_PACKAGE_DEPENDS "${component} (= ${PROJECT_VERSION})")
  set(CPACK_COMPONENT_${debug}_DESCRIPTION "Debug symbols for ${component}")
endforeach()
# The same packages from the same build.
configure_file(cpack_time.cmake.in cpack_time.cmake @ONLY)
set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_CURRENT_BINARY_DIR}/cpack_time.cmake)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)

set(CPACK_DEBIAN_POOLD_PACKAGE_NAME poold)
set(CPACK_COMPONENT_POOLD_DESCRIPTION
  "portpool hands out TCP source ports to programs that open many outgoing
connections, so that connect() costs the same with 1 % or 99.9 % of the
ports in use. This is its daemon, and the command that shows what it does.")
set(CPACK_DEBIAN_POOLD_PACKAGE_DEPENDS "libportpool1 (= ${PROJECT_VERSION}), adduser")
set(CPACK_DEBIAN_POOLD_PACKAGE_CONTROL_EXTRA
  "${CMAKE_CURRENT_SOURCE_DIR}/debian/poold/conffiles"
  "${CMAKE_CURRENT_SOURCE_DIR}/debian/poold/postinst"
  "${CMAKE_CURRENT_SOURCE_DIR}/debian/poold/prerm"
  "${CMAKE_CURRENT_SOURCE_DIR}/debian/poold/postrm")

set(CPACK_DEBIAN_LIBPORTPOOL1_PACKAGE_NAME libportpool1)
set(CPACK_DEBIAN_LIBPORTPOOL1_PACKAGE_SECTION libs)
set(CPACK_COMPONENT_LIBPORTPOOL1_DESCRIPTION
  "This is the library of portpool that is preloaded into programs:
LD_PRELOAD='/usr/$LIB/portpool/libportpool.so'")
set(CPACK_DEBIAN_LIBPORTPOOL1_PACKAGE_CONTROL_EXTRA
  "${CMAKE_CURRENT_SOURCE_DIR}/debian/libportpool1/prerm")

set(CPACK_DEBIAN_LIB32PORTPOOL1_PACKAGE_NAME lib32portpool1)
set(CPACK_DEBIAN_LIB32PORTPOOL1_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIB32PORTPOOL1_PACKAGE_DEPENDS "libportpool1 (= ${PROJECT_VERSION})")
set(CPACK_COMPONENT_LIB32PORTPOOL1_DESCRIPTION
  "The library of libportpool1 for programs of 32 bits. One setting is for both:
LD_PRELOAD='/usr/$LIB/portpool/libportpool.so'")
include(CPack)
