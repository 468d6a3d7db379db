/* -*- c++ -*- ----------------------------------------------------------
   nequip-legato: LAMMPS' own copy of fmt, where the compiler has std::format.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

// Newer releases of LAMMPS print by std::format where the compiler has it, and functions such as
// Error::all have other arguments then. A LAMMPS compiled for C++17 has not, and the plugin, which
// is compiled for C++20, has to do likewise. Included before anything else.
#ifndef LMP_LEGATO_LAMMPS_FMT_H
#define LMP_LEGATO_LAMMPS_FMT_H

#if __has_include(<version>)
#include <version>
#endif
#undef __cpp_lib_format
#define __cpp_lib_format 0    // and not undefined: <version> may be read once more

#include "fmt/format.h"

#undef __cpp_lib_format

#endif
