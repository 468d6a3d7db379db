# What the plugin has to know of a LAMMPS that was built by its own CMake.
#
# In:  LEGATO_LAMMPS_BUILD  LAMMPS' build folder, the one with CMakeCache.txt
# Out: LEGATO_LAMMPS_INCLUDE, LEGATO_LAMMPS_VERSION, LEGATO_MPI_INCLUDE as in CMakeLists.txt, and
#      LEGATO_LAMMPS_DEFINITIONS  private definitions on which the layout of LAMMPS' classes depends
#      LEGATO_LAMMPS_LIBRARY      its library or program, if it is compiled
#      LEGATO_LAMMPS_FMT          ON if its library is not there and cannot have std::format
#      LEGATO_KOKKOS              whether it has Kokkos; then also the target legato_kokkos, and
#      LEGATO_KOKKOS_TEXT         its version and backends, in words
get_filename_component(LEGATO_LAMMPS_BUILD "${LEGATO_LAMMPS_BUILD}" ABSOLUTE)
if(NOT EXISTS "${LEGATO_LAMMPS_BUILD}/CMakeCache.txt")
  message(FATAL_ERROR "${LEGATO_LAMMPS_BUILD} is not a build folder of LAMMPS (no CMakeCache.txt); "
                      "set LEGATO_LAMMPS_BUILD to the folder in which cmake built LAMMPS")
endif()
load_cache(
  "${LEGATO_LAMMPS_BUILD}" READ_WITH_PREFIX LEGATO_TREE_
  BUILD_MPI
  CUDAToolkit_ROOT
  CUDA_cuda_driver_LIBRARY
  CMAKE_CXX_STANDARD
  CMAKE_HOME_DIRECTORY
  EXTERNAL_KOKKOS
  KOKKOS_LAYOUT
  KOKKOS_PREC
  Kokkos_DIR
  LAMMPS_MEMALIGN
  LAMMPS_SIZES
  MPI_CXX_COMPILER_INCLUDE_DIRS
  MPI_CXX_HEADER_DIR
  PKG_KOKKOS)
get_filename_component(legato_lammps "${LEGATO_TREE_CMAKE_HOME_DIRECTORY}" DIRECTORY)
set(legato_src "${legato_lammps}/src")
if(NOT EXISTS "${legato_src}/pair.h")
  message(FATAL_ERROR "the sources of the LAMMPS in ${LEGATO_LAMMPS_BUILD} are missing: there is no "
                      "${legato_src}/pair.h")
endif()

# === version: "4 Jul 2026" -> 20260704 ===
file(STRINGS "${legato_src}/version.h" legato_line REGEX "LAMMPS_VERSION")
if(NOT legato_line MATCHES "\"([0-9]+) ([A-Z][a-z][a-z])[a-z]* ([0-9]+)\"")
  message(FATAL_ERROR "${legato_src}/version.h does not contain a version of LAMMPS")
endif()
set(legato_day ${CMAKE_MATCH_1})
set(legato_year ${CMAKE_MATCH_3})
set(legato_months Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec)
list(FIND legato_months ${CMAKE_MATCH_2} legato_month)
math(EXPR LEGATO_LAMMPS_VERSION "10000*${legato_year}+100*(${legato_month}+1)+${legato_day}")

# === headers and definitions ===
set(LEGATO_LAMMPS_INCLUDE "${legato_src}")
if(IS_DIRECTORY "${legato_lammps}/third_party")
  list(APPEND LEGATO_LAMMPS_INCLUDE "${legato_lammps}/third_party")
endif()
if(LEGATO_TREE_BUILD_MPI)
  set(LEGATO_MPI_INCLUDE ${LEGATO_TREE_MPI_CXX_COMPILER_INCLUDE_DIRS}
                         ${LEGATO_TREE_MPI_CXX_HEADER_DIR})
else()
  set(LEGATO_MPI_INCLUDE "${legato_src}/STUBS")
endif()
string(TOUPPER "LAMMPS_${LEGATO_TREE_LAMMPS_SIZES}" legato_sizes)
set(LEGATO_LAMMPS_DEFINITIONS ${legato_sizes})
if(LEGATO_TREE_LAMMPS_MEMALIGN)
  list(APPEND LEGATO_LAMMPS_DEFINITIONS LAMMPS_MEMALIGN=${LEGATO_TREE_LAMMPS_MEMALIGN})
endif()

file(GLOB legato_built "${LEGATO_LAMMPS_BUILD}/liblammps*.so" "${LEGATO_LAMMPS_BUILD}/lmp*")
if(legato_built)
  list(GET legato_built 0 LEGATO_LAMMPS_LIBRARY)
elseif(NOT LEGATO_TREE_PKG_KOKKOS AND NOT LEGATO_TREE_CMAKE_CXX_STANDARD GREATER 17)
  set(LEGATO_LAMMPS_FMT ON) # LAMMPS' own choice is C++17, with Kokkos C++20
endif()

# === Kokkos ===
set(LEGATO_KOKKOS ${LEGATO_TREE_PKG_KOKKOS})
if(LEGATO_KOKKOS)
  list(APPEND LEGATO_LAMMPS_INCLUDE "${legato_src}/KOKKOS")
  set(legato_precision ${LEGATO_TREE_KOKKOS_PREC})
  if(NOT legato_precision)
    set(legato_precision double) # the only one before 22 Jul 2025
  endif()
  string(TOUPPER "${legato_precision}" legato_precision)
  set(legato_names DOUBLE=DOUBLE_DOUBLE SINGLE=SINGLE_SINGLE MIXED=SINGLE_DOUBLE)
  list(FILTER legato_names INCLUDE REGEX "^${legato_precision}=")
  string(REGEX REPLACE "^.*=" "" legato_precision "${legato_names}")
  list(APPEND LEGATO_LAMMPS_DEFINITIONS LMP_KOKKOS LMP_KOKKOS_${legato_precision})
  if(LEGATO_TREE_KOKKOS_LAYOUT)
    string(TOUPPER "${LEGATO_TREE_KOKKOS_LAYOUT}" legato_layout)
    list(APPEND LEGATO_LAMMPS_DEFINITIONS LMP_KOKKOS_LAYOUT_${legato_layout})
  endif()

  add_library(legato_kokkos INTERFACE)
  foreach(setting CUDAToolkit_ROOT CUDA_cuda_driver_LIBRARY) # the CUDA toolkit that LAMMPS found
    if(LEGATO_TREE_${setting})
      set(${setting} "${LEGATO_TREE_${setting}}" CACHE PATH "as in LAMMPS" FORCE)
    endif()
  endforeach()
  if(LEGATO_TREE_EXTERNAL_KOKKOS)
    # A Kokkos of its own, which has to be a shared library: with a static one the plugin would
    # bring in a second Kokkos, which nobody initializes.
    set(legato_package "${LEGATO_TREE_Kokkos_DIR}")
  else()
    # LAMMPS' own copy, compiled into its library, so that its symbols come from LAMMPS. Its headers
    # and settings are those of the package that Kokkos leaves in the build folder.
    set(legato_package "${LEGATO_LAMMPS_BUILD}/cmake_packages/Kokkos")
    if(NOT EXISTS "${legato_package}") # -DDOWNLOAD_KOKKOS=ON
      set(legato_package "${LEGATO_LAMMPS_BUILD}/kokkos_build-prefix/lib/cmake/Kokkos")
    endif()
  endif()
  if(NOT EXISTS "${legato_package}/KokkosConfig.cmake")
    message(FATAL_ERROR "the Kokkos of the LAMMPS in ${LEGATO_LAMMPS_BUILD} was not found: there is "
                        "no ${legato_package}/KokkosConfig.cmake")
  endif()
  find_package(Kokkos CONFIG REQUIRED NO_DEFAULT_PATH PATHS "${legato_package}")
  string(TOLOWER "${Kokkos_VERSION} (${Kokkos_DEVICES})" LEGATO_KOKKOS_TEXT)
  string(REPLACE ";" " " LEGATO_KOKKOS_TEXT "${LEGATO_KOKKOS_TEXT}")
  if(LEGATO_TREE_EXTERNAL_KOKKOS)
    get_target_property(legato_kind Kokkos::kokkoscore TYPE)
    if(NOT legato_kind STREQUAL "SHARED_LIBRARY")
      message(FATAL_ERROR "the Kokkos in ${Kokkos_DIR} is a static library, which plugins cannot "
                          "share with LAMMPS; build it with -DBUILD_SHARED_LIBS=ON")
    endif()
    target_link_libraries(legato_kokkos INTERFACE Kokkos::kokkos)
  else()
    # all but the libraries themselves
    set(legato_of "TARGET_PROPERTY:Kokkos::kokkos,INTERFACE")
    target_include_directories(legato_kokkos SYSTEM INTERFACE $<${legato_of}_INCLUDE_DIRECTORIES>)
    target_compile_definitions(legato_kokkos INTERFACE $<${legato_of}_COMPILE_DEFINITIONS>)
    target_compile_options(legato_kokkos INTERFACE $<${legato_of}_COMPILE_OPTIONS>)
    target_link_options(legato_kokkos INTERFACE $<${legato_of}_LINK_OPTIONS>)
    get_target_property(legato_needs Kokkos::kokkoscore INTERFACE_LINK_LIBRARIES)
    if(legato_needs)
      target_link_libraries(legato_kokkos INTERFACE ${legato_needs})
    endif()
  endif()
endif()
