/* -*- c++ -*- ----------------------------------------------------------
   nequip-legato: what the dynamic linker says, in words that help.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */
#ifndef LMP_LEGATO_LOAD_FAILURE_H
#define LMP_LEGATO_LOAD_FAILURE_H

#include <string>

namespace legato {

// Cause and remedy of a library that could not be opened, as one line.
//   said: what dlerror() says
//   rebuild: command that builds the plugin again
std::string load_failure(const std::string &said, const std::string &rebuild);

}    // namespace legato

#endif
