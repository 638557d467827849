# Every third-party library of the modules, as imported targets. One list for the build and for the installed package
# (LexelConfig.cmake includes it), because static libraries pass what they link on to their user.

find_package(CURL REQUIRED)                      # CURL::libcurl
find_package(ICU REQUIRED COMPONENTS uc)         # ICU::uc
find_package(JPEG REQUIRED)                      # JPEG::JPEG
find_package(LibArchive REQUIRED)                # LibArchive::LibArchive
find_package(PNG REQUIRED)                       # PNG::PNG
find_package(hwy REQUIRED CONFIG)                # hwy::hwy
find_package(nlohmann_json REQUIRED CONFIG)      # nlohmann_json::nlohmann_json
find_package(OpenSSL REQUIRED COMPONENTS Crypto) # OpenSSL::Crypto
find_package(Threads REQUIRED)                   # Threads::Threads

# These bring no CMake files in Debian: WebP::webp, WebP::webpdemux, Exif::exif, TurboJPEG::turbojpeg,
# SentencePiece::sentencepiece, SentencePiece::train, Cbc::cbc.
function(_lexel_import target library header)
  if(TARGET ${target})
    return()
  endif()
  find_library(LEXEL_${library}_LIBRARY NAMES ${library} REQUIRED)
  find_path(LEXEL_${library}_INCLUDE_DIR NAMES ${header} REQUIRED)
  mark_as_advanced(LEXEL_${library}_LIBRARY LEXEL_${library}_INCLUDE_DIR)
  add_library(${target} SHARED IMPORTED)
  set_target_properties(${target} PROPERTIES
    IMPORTED_LOCATION "${LEXEL_${library}_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${LEXEL_${library}_INCLUDE_DIR}")
endfunction()
_lexel_import(WebP::webp webp webp/decode.h)
_lexel_import(WebP::webpdemux webpdemux webp/demux.h)
_lexel_import(Exif::exif exif libexif/exif-data.h)
_lexel_import(TurboJPEG::turbojpeg turbojpeg turbojpeg.h)
_lexel_import(SentencePiece::sentencepiece sentencepiece sentencepiece_processor.h)
_lexel_import(SentencePiece::train sentencepiece_train sentencepiece_trainer.h)
_lexel_import(Cbc::cbc CbcSolver coin/Cbc_C_Interface.h)
