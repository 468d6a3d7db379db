/* ----------------------------------------------------------------------
   nequip-legato: registers LAMMPS' own styles as those of a plugin, for tests.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#ifndef LEGATO_TESTS_STYLE_PLUGIN_H
#define LEGATO_TESTS_STYLE_PLUGIN_H

#include "version.h"

#include "lammpsplugin.h"

namespace LAMMPS_NS {

template <class Style> void *create(LAMMPS *lmp, int narg, char **arg)
{
  return new Style(lmp, narg, arg);
}

template <class Style> void *create_command(LAMMPS *lmp)
{
  return new Style(lmp);
}

inline lammpsplugin_t plugin_of(const char *kind, const char *name, void *handle)
{
  lammpsplugin_t plugin{};
  plugin.version = LAMMPS_VERSION;
  plugin.style = kind;
  plugin.name = name;
  plugin.info = "LAMMPS' own";
  plugin.author = "LAMMPS";
  plugin.handle = handle;
  return plugin;
}

/// Register a fix or a compute.
template <class Style>
void add(const char *name, LAMMPS *lmp, void *handle, void *regfunc, const char *kind = "fix")
{
  auto plugin = plugin_of(kind, name, handle);
  plugin.creator.v2 = reinterpret_cast<lammpsplugin_factory2 *>(&create<Style>);
  reinterpret_cast<lammpsplugin_regfunc>(regfunc)(&plugin, lmp);
}

/// Register a command.
template <class Style> void add_command(const char *name, LAMMPS *lmp, void *handle, void *regfunc)
{
  auto plugin = plugin_of("command", name, handle);
  plugin.creator.v1 = reinterpret_cast<lammpsplugin_factory1 *>(&create_command<Style>);
  reinterpret_cast<lammpsplugin_regfunc>(regfunc)(&plugin, lmp);
}

}    // namespace LAMMPS_NS

#endif
