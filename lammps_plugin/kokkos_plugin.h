/* -*- c++ -*- ----------------------------------------------------------
   nequip-legato: what styles.cpp needs of the Kokkos style.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */
#ifndef LMP_LEGATO_KOKKOS_PLUGIN_H
#define LMP_LEGATO_KOKKOS_PLUGIN_H

#include <string>

namespace legato {

// How the plugin's Kokkos differs from that of the LAMMPS that loads it, both named; empty if it
// does not. Version, backend, precision and layout decide how LAMMPS' arrays lie in memory. The
// version is known once Kokkos is switched on; before, no style of ours uses it.
std::string kokkos_mismatch();

// For pair styles allegro_legato/kk, /kk/device and /kk/host.
void *create_pair_on_device(void *lmp);
void *create_pair_on_host(void *lmp);

}    // namespace legato

#endif
