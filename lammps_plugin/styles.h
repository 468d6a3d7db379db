/* -*- c++ -*- ----------------------------------------------------------
   nequip-legato: what the library with the styles exports to the plugin.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

// The plugin that LAMMPS loads at its start is a small one that needs neither torch nor LAMMPS' C++
// symbols, so that it always loads. It opens this library when a style of ours is used.
#ifndef LMP_LEGATO_STYLES_H
#define LMP_LEGATO_STYLES_H

#define LEGATO_STYLES_FILE "legato_styles.so"

// Why this LAMMPS cannot use these styles; empty if it can. What the plugin is built for is given,
// so that two files of different builds are noticed.
extern "C" typedef const char *(*LegatoMismatch)(const char *plugin_built_for);
#define LEGATO_MISMATCH "legato_mismatch"

// A new pair style of that name, for a LAMMPS instance.
extern "C" typedef void *(*LegatoCreatePair)(void *lmp, const char *style);
#define LEGATO_CREATE_PAIR "legato_create_pair"

#endif
