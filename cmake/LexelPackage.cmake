# `cmake --install build/release --prefix DIR`: bin/, lib/, include/lexel/, and the package that find_package(Lexel) reads.
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/Lexel")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/LexelConfig.cmake.in" "${PROJECT_BINARY_DIR}/LexelConfig.cmake"
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/LexelConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(EXPORT LexelTargets NAMESPACE Lexel:: DESTINATION ${package_dir})
install(FILES
  "${PROJECT_BINARY_DIR}/LexelConfig.cmake"
  "${PROJECT_BINARY_DIR}/LexelConfigVersion.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/FindLibTorch.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/LexelThirdParty.cmake"
  DESTINATION ${package_dir})
install(FILES LICENSE DESTINATION share/doc/lexel)
