/* ----------------------------------------------------------------------
   nequip-legato: registers its styles with LAMMPS.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "built_for.h"
#include "pair_allegro_legato.h"
#include "versions.h"
#ifdef LEGATO_KOKKOS
#include "kokkos_plugin.h"
#endif

#include <cstdlib>
#include <string>

namespace {

// As in LAMMPS' lammpsplugin.h, which its binary packages leave out.
typedef void *(*StyleFactory)(void *);
struct Plugin {
  const char *version;
  const char *style;
  const char *name;
  const char *info;
  const char *author;
  StyleFactory creator;
  void *handle;
};
typedef void (*RegisterPlugin)(Plugin *, void *);

// From LAMMPS' C library interface, whose binary layout does not change between releases.
constexpr int kErrorAll = 2;
extern "C" {
int lammps_version(void *);
void lammps_error(void *, int, const char *);
}

void *create_pair(void *lmp)
{
  return new LAMMPS_NS::PairAllegroLegato(static_cast<LAMMPS_NS::LAMMPS *>(lmp));
}

// LAMMPS loads a plugin made for any other version without a word; its classes would not fit.
std::string mismatch(void *lmp)
{
  const std::string remedy = "; build it again with 'nequip-legato plugin build'";
  const int running = lammps_version(lmp);
  if (running != LEGATO_LAMMPS_VERSION)
    return "The nequip-legato plugin was built for LAMMPS " +
           std::to_string(LEGATO_LAMMPS_VERSION) + ", but this is LAMMPS " +
           std::to_string(running) + remedy;
  const std::string torch = legato::installed_torch_version();
  if (!torch.empty() && torch != LEGATO_TORCH_VERSION)
    return std::string("The nequip-legato plugin was built for torch ") + LEGATO_TORCH_VERSION +
           ", but finds torch " + torch + remedy;
#ifdef LEGATO_KOKKOS
  const std::string kokkos = legato::kokkos_mismatch();
  if (!kokkos.empty()) return kokkos + "; build it for this LAMMPS, see docs/kokkos.md";
#endif
  return "";
}

}    // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle,
                                                                         void *regfunc)
{
  const std::string problem = mismatch(lmp);
  if (!problem.empty()) {
    lammps_error(lmp, kErrorAll, problem.c_str());
    return;
  }
  const auto add = [&](const char *name, StyleFactory creator) {
    Plugin plugin = {"",
                     "pair",
                     name,
                     "Allegro models by nequip-legato " LEGATO_VERSION,
                     "nequip-legato developers",
                     creator,
                     handle};
    reinterpret_cast<RegisterPlugin>(regfunc)(&plugin, lmp);
  };
  add("allegro_legato", create_pair);
#ifdef LEGATO_KOKKOS
  add("allegro_legato/kk", legato::create_pair_on_device);
  add("allegro_legato/kk/device", legato::create_pair_on_device);
  add("allegro_legato/kk/host", legato::create_pair_on_host);
#endif
}
