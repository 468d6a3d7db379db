/* -*- c++ -*- ----------------------------------------------------------
   nequip-legato: Allegro models in LAMMPS, on the device that Kokkos chose.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#ifdef PAIR_CLASS
// clang-format off
PairStyle(allegro_legato/kk,PairAllegroLegatoKokkos<LMPDeviceType>);
PairStyle(allegro_legato/kk/device,PairAllegroLegatoKokkos<LMPDeviceType>);
PairStyle(allegro_legato/kk/host,PairAllegroLegatoKokkos<LMPHostType>);
// clang-format on
#else

#ifndef LMP_PAIR_ALLEGRO_LEGATO_KOKKOS_H
#define LMP_PAIR_ALLEGRO_LEGATO_KOKKOS_H

#include "kokkos_blocks.h"
#include "pair_allegro_legato.h"

#include <memory>
#include <vector>

namespace legato {
struct BlockViewResult;
}    // namespace legato

namespace LAMMPS_NS {

// The same input lines as PairAllegroLegato. Positions, neighbors and forces stay on the device:
// Kokkos kernels make the blocks, the model reads their memory, kernels scatter its results.
template <class DeviceType> class PairAllegroLegatoKokkos : public PairAllegroLegato {
 public:
  typedef DeviceType device_type;

  PairAllegroLegatoKokkos(class LAMMPS *);
  ~PairAllegroLegatoKokkos() override;

  void compute(int, int) override;
  double memory_usage() override;

 protected:
  using Policy = Kokkos::RangePolicy<DeviceType>;
  using Place = LegatoKernels::Place;
  // The blocks that are evaluated side by side, one per thread.
  struct Batch;
  // Where results are added: on OpenMP a copy of each array for each thread, else atomically.
  struct Scatters;

  struct DeviceModel;

  LegatoKernels::Surroundings<DeviceType> around_;
  Kokkos::View<int *, DeviceType> centers_;
  Kokkos::View<LegatoKernels::bigcount *, DeviceType> first_edge_;
  decltype(Kokkos::create_mirror_view(first_edge_)) host_first_edge_;
  LegatoKernels::BlockArrays<DeviceType> arrays_;
  LegatoKernels::PerAtom<DeviceType> per_atom_;

  int default_threads() const override;
  std::unique_ptr<OpenModel>
  open_model(const std::string &path, const Settings &,
             const std::shared_ptr<legato::PackageFiles> &files) const override;
  void set_types(OpenModel &, const std::vector<int> &) const override;
  void request_list() override;
  const char *newton_remedy() const override;

  DeviceModel &device_model() const;
  void check_lists(int n_centers);
  int find_centers();
  void count_edges(int n_centers);
  std::vector<Place> next_places(int begin, int n_centers, int size) const;
  void reserve(const std::vector<Place> &places);
  void clear_per_atom();
  void add_per_atom();
  Scatters scatters();
  void contribute(Scatters &);
  void fill(Batch &);
  void evaluate(Batch &, bool energies_alone);
  void scatter(const Batch &, const Scatters &, LegatoKernels::Tally &) const;
  void store(const LegatoKernels::Tally &, bool energies_alone);
};

}    // namespace LAMMPS_NS

#endif
#endif
