# SPDX-License-Identifier: GPL-3.0-or-later
# Removes what an installation put down, what Python wrote beside it, and the folders that are empty then:
#   cmake -D MANIFEST=build/install_manifest.txt -P cmake/uninstall.cmake
if(NOT EXISTS "${MANIFEST}")
    message(FATAL_ERROR "no ${MANIFEST}: nothing was installed from this build folder, or it was cleaned since; "
        "install again from here, then uninstall")
endif()

file(STRINGS "${MANIFEST}" files)
list(TRANSFORM files PREPEND "$ENV{DESTDIR}")
foreach(file IN LISTS files)
    file(REMOVE "${file}")
    if(EXISTS "${file}")
        message(FATAL_ERROR "${file} cannot be removed: uninstall as the user who installed it (sudo?)")
    endif()
    message(STATUS "Removed: ${file}")
endforeach()

# Only in folders that are ours alone; a folder gnuradio/lighttune that stayed would still be imported, empty.
list(TRANSFORM files REPLACE "/[^/]*$" "" OUTPUT_VARIABLE folders)
list(FILTER folders INCLUDE REGEX "/(gr-)?lighttune(/|$)")
list(REMOVE_DUPLICATES folders)
foreach(folder IN LISTS folders)
    file(REMOVE_RECURSE "${folder}/__pycache__")
endforeach()
foreach(folder IN LISTS folders)
    while(folder MATCHES "/(gr-)?lighttune(/|$)")
        file(GLOB left "${folder}/*")
        if(NOT left)
            file(REMOVE_RECURSE "${folder}")
        endif()
        string(REGEX REPLACE "/[^/]*$" "" folder "${folder}")
    endwhile()
endforeach()
