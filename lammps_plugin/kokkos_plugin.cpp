/* ----------------------------------------------------------------------
   nequip-legato: what styles.cpp needs of the Kokkos style.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "kokkos_plugin.h"

#include "pair_allegro_legato_kokkos.h"

#include <sstream>

extern "C" int lammps_config_accelerator(const char *, const char *, const char *);

namespace {

std::string built_version()
{
  return " " + std::to_string(KOKKOS_VERSION / 10000) + "." +
         std::to_string(KOKKOS_VERSION / 100 % 100) + "." + std::to_string(KOKKOS_VERSION % 100);
}

// Kokkos tells its version only in the text of its configuration, and only after it was switched
// on.
std::string running_version()
{
  if (!Kokkos::is_initialized()) return "";
  std::stringstream text;
  Kokkos::print_configuration(text);
  const std::string key = "Kokkos Version:";
  for (std::string line; std::getline(text, line);) {
    const auto at = line.find(key);
    if (at != std::string::npos) return line.substr(at + key.size());
  }
  return "";
}

std::string built_backends()
{
  std::string names;
#ifdef KOKKOS_ENABLE_CUDA
  names += " cuda";
#endif
#ifdef KOKKOS_ENABLE_HIP
  names += " hip";
#endif
#ifdef KOKKOS_ENABLE_SYCL
  names += " sycl";
#endif
#ifdef KOKKOS_ENABLE_OPENMP
  names += " openmp";
#endif
#ifdef KOKKOS_ENABLE_THREADS
  names += " pthreads";
#endif
#ifdef KOKKOS_ENABLE_SERIAL
  names += " serial";
#endif
  return names;
}

std::string built_precision()
{
  if (sizeof(typename LAMMPS_NS::LegatoKokkosTypes<LMPDeviceType>::Positions::value_type) == 8)
    return " double";
  return sizeof(typename LAMMPS_NS::LegatoKokkosTypes<LMPDeviceType>::Forces::value_type) == 8
             ? " mixed"
             : " single";
}

// LAMMPS of 22 Jul 2025 has no setting for the layout.
std::string built_layout()
{
#if defined(LMP_KOKKOS_LAYOUT_LEGACY)
  return " legacy";
#elif defined(LMP_KOKKOS_LAYOUT_DEFAULT)
  return " default";
#else
  return "";
#endif
}

template <std::size_t N> std::string running(const char *category, const char *const (&settings)[N])
{
  std::string names;
  for (const char *setting : settings)
    if (lammps_config_accelerator("KOKKOS", category, setting)) names += std::string(" ") + setting;
  return names;
}

}    // namespace

std::string legato::kokkos_mismatch()
{
  const char *const apis[] = {"cuda", "hip", "sycl", "openmp", "pthreads", "serial"};
  const char *const precisions[] = {"double", "mixed", "single"};
  const char *const layouts[] = {"legacy", "default"};
  const struct {
    const char *what;
    std::string built, running;
    bool always_known;
  } parts[] = {{"version", built_version(), running_version(), false},
               {"backends", built_backends(), running("api", apis), true},
               {"precision", built_precision(), running("precision", precisions), true},
               {"view layout", built_layout(), running("layout", layouts), false}};
  for (const auto &part : parts) {
    const bool unknown = part.built.empty() || part.running.empty();
    if (part.built != part.running && (part.always_known || !unknown))
      return std::string("The nequip-legato plugin was built for Kokkos ") + part.what +
             part.built + ", but this LAMMPS has" +
             (part.running.empty() ? " no Kokkos" : part.running) +
             "; build it for this LAMMPS, see docs/kokkos.md";
  }
  return "";
}

void *legato::create_pair_on_device(void *lmp)
{
  using namespace LAMMPS_NS;
  return new PairAllegroLegatoKokkos<LMPDeviceType>(static_cast<LAMMPS *>(lmp));
}

void *legato::create_pair_on_host(void *lmp)
{
  using namespace LAMMPS_NS;
  return new PairAllegroLegatoKokkos<LMPHostType>(static_cast<LAMMPS *>(lmp));
}
