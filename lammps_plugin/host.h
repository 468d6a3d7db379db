/* -*- c++ -*- ----------------------------------------------------------
   nequip-legato: the LAMMPS that loaded the plugin, through its C interface.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

// No symbol of LAMMPS or MPI is linked: whatever is missing, the plugin itself loads.
#ifndef LMP_LEGATO_HOST_H
#define LMP_LEGATO_HOST_H

#include <string>

namespace legato {

// Where LAMMPS' functions lie: in the library or program that has this one.
void remember_host(void *function);

// LAMMPS' version, such as 20250722.
int host_version(void *lmp);

// The MPI of LAMMPS, and the one that the plugin was compiled for: "Open MPI", "MPICH" (and its
// relatives, which share its binary interface) or "no MPI"; empty if unknown.
std::string host_mpi();
std::string built_mpi();

// What compiled LAMMPS and the plugin, such as "GNU C++ 12.2.0"; empty if unknown.
std::string host_compiler();
std::string built_compiler();

// A LAMMPS error on all ranks, with the message of the first rank that has one; nothing if no rank
// has one. Called by all ranks.
void stop_if_any_failed(void *lmp, std::string message);

}    // namespace legato

#endif
