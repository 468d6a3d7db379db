/* ----------------------------------------------------------------------
   nequip-legato: LAMMPS' Monte Carlo fixes as a plugin, for tests.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "fix_atom_swap.h"
#include "fix_charge_regulation.h"
#include "fix_gcmc.h"
#include "fix_mol_swap.h"
#include "fix_numdiff.h"
#include "fix_widom.h"
#include "version.h"

#include "lammpsplugin.h"

using namespace LAMMPS_NS;

template <class Fix> static void *create(LAMMPS *lmp, int narg, char **arg)
{
  return new Fix(lmp, narg, arg);
}

template <class Fix> static void add(const char *name, LAMMPS *lmp, void *handle, void *regfunc)
{
  lammpsplugin_t plugin{};
  plugin.version = LAMMPS_VERSION;
  plugin.style = "fix";
  plugin.name = name;
  plugin.info = "LAMMPS' own";
  plugin.author = "LAMMPS";
  plugin.creator.v2 = reinterpret_cast<lammpsplugin_factory2 *>(&create<Fix>);
  plugin.handle = handle;
  reinterpret_cast<lammpsplugin_regfunc>(regfunc)(&plugin, lmp);
}

extern "C" void lammpsplugin_init(void *pointer, void *handle, void *regfunc)
{
  auto *lmp = static_cast<LAMMPS *>(pointer);
  add<FixAtomSwap>("atom/swap", lmp, handle, regfunc);
  add<FixChargeRegulation>("charge/regulation", lmp, handle, regfunc);
  add<FixGCMC>("gcmc", lmp, handle, regfunc);
  add<FixMolSwap>("mol/swap", lmp, handle, regfunc);
  add<FixNumDiff>("numdiff", lmp, handle, regfunc);
  add<FixWidom>("widom", lmp, handle, regfunc);
}
