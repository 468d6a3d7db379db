/* ----------------------------------------------------------------------
   nequip-legato: the library with the styles, which the plugin opens.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "styles.h"

#include "built_for.h"
#include "pair_allegro_legato.h"
#ifdef LEGATO_KOKKOS
#include "kokkos_plugin.h"
#endif

#include <string>

#define LEGATO_EXPORT extern "C" __attribute__((visibility("default")))

LEGATO_EXPORT const char *legato_mismatch(const char *plugin_built_for)
{
  static std::string problem;
  problem.clear();
  if (std::string(LEGATO_BUILT_FOR) != plugin_built_for)
    problem = std::string("The nequip-legato plugin was built for ") + plugin_built_for +
              ", but " LEGATO_STYLES_FILE " beside it for " LEGATO_BUILT_FOR
              "; build both again with '" LEGATO_REBUILD "'";
#ifdef LEGATO_KOKKOS
  if (problem.empty()) problem = legato::kokkos_mismatch();
#endif
  return problem.c_str();
}

LEGATO_EXPORT void *legato_create_pair(void *lmp, const char *style)
{
#ifdef LEGATO_KOKKOS
  const std::string name = style;
  if (name == "allegro_legato/kk/host") return legato::create_pair_on_host(lmp);
  if (name != "allegro_legato") return legato::create_pair_on_device(lmp);
#else
  (void)style;
#endif
  return new LAMMPS_NS::PairAllegroLegato(static_cast<LAMMPS_NS::LAMMPS *>(lmp));
}
