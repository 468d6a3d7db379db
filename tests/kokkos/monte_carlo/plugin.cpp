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

#include "../style_plugin.h"

using namespace LAMMPS_NS;

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
