/* -*- c++ -*- ----------------------------------------------------------
   nequip-legato: opens the library with the styles, or says why not.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */
#ifndef LMP_LEGATO_OPEN_STYLES_H
#define LMP_LEGATO_OPEN_STYLES_H

#include "styles.h"

#include <string>

namespace legato {

// What creates styles, from the library that lies beside the plugin; null if it does not fit this
// LAMMPS or cannot be loaded, and then `problem` is one line with cause and remedy.
LegatoCreatePair open_styles(void *lmp, std::string &problem);

}    // namespace legato

#endif
