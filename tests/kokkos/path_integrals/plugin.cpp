/* ----------------------------------------------------------------------
   nequip-legato: what quantum campaigns need of LAMMPS as a plugin, for tests.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "change_box.h"
#include "compute_coord_atom.h"
#include "fix_ipi.h"
#include "fix_langevin.h"
#include "fix_pimd_langevin.h"
#include "fix_print.h"
#include "fix_store_force.h"

#include "../style_plugin.h"

#include <cstdlib>

using namespace LAMMPS_NS;

extern "C" void lammpsplugin_init(void *pointer, void *handle, void *regfunc)
{
  auto *lmp = static_cast<LAMMPS *>(pointer);
  add<ComputeCoordAtom>("coord/atom", lmp, handle, regfunc, "compute");
  add<FixLangevin>("langevin", lmp, handle, regfunc);
  add<FixPrint>("print", lmp, handle, regfunc);
  add<FixStoreForce>("store/force", lmp, handle, regfunc);
  add_command<ChangeBox>("change_box", lmp, handle, regfunc);
  if (std::getenv("LEGATO_TESTS_WITHOUT_PACKAGES")) return;
  add<FixIPI>("ipi", lmp, handle, regfunc);
  add<FixPIMDLangevin>("pimd/langevin", lmp, handle, regfunc);
}
