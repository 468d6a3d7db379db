/* ----------------------------------------------------------------------
   nequip-legato: registers its styles with LAMMPS.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "built_for.h"
#include "host.h"
#include "open_styles.h"

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

constexpr char kPlain[] = "allegro_legato";
#ifdef LEGATO_KOKKOS
constexpr char kKokkos[] = "allegro_legato/kk";
constexpr char kDevice[] = "allegro_legato/kk/device";
constexpr char kHost[] = "allegro_legato/kk/host";
#endif

// Called by all ranks, when an input names the style: whatever keeps it from being used is said
// here.
template <const char *style> void *create_pair(void *lmp)
{
  std::string problem;
  const LegatoCreatePair create = legato::open_styles(lmp, problem);
  legato::stop_if_any_failed(lmp, problem);
  return create(lmp, style);
}

}    // namespace

// Checks nothing: most people who have this plugin installed are using other styles.
extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle,
                                                                         void *regfunc)
{
  legato::remember_host(regfunc);
  const auto add = [&](const char *name, StyleFactory creator) {
    Plugin plugin = {LEGATO_LAMMPS_VERSION_TEXT,
                     "pair",
                     name,
                     "Allegro models by nequip-legato " LEGATO_VERSION,
                     "nequip-legato developers",
                     creator,
                     handle};
    reinterpret_cast<RegisterPlugin>(regfunc)(&plugin, lmp);
  };
  add(kPlain, create_pair<kPlain>);
#ifdef LEGATO_KOKKOS
  add(kKokkos, create_pair<kKokkos>);
  add(kDevice, create_pair<kDevice>);
  add(kHost, create_pair<kHost>);
#endif
}
