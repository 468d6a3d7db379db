/* -*- c++ -*- ----------------------------------------------------------
   nequip-legato: Allegro models in LAMMPS.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#ifdef PAIR_CLASS
// clang-format off
PairStyle(allegro_legato,PairAllegroLegato);
// clang-format on
#else

#ifndef LMP_PAIR_ALLEGRO_LEGATO_H
#define LMP_PAIR_ALLEGRO_LEGATO_H

#include "pair.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace legato {
class BlockSize;
class Engine;
struct Device;
enum class DeviceWish;
struct Metadata;
struct NodeProcess;
}    // namespace legato

namespace LAMMPS_NS {

// pair_style allegro_legato [block N] [threads N] [device auto|cpu|cuda]
// pair_coeff * * MODEL NAME...        one model type name, or NULL, per LAMMPS atom type
//
// compute pair gives five values: [1] smallest ratio of a distance to the shortest one of its type
// pair in training, [2] number of atoms that have a neighbour closer than any in training,
// [3] largest |dE/dr_ij| of an edge, in force units, [4] number of edges on which the model's fence
// acts, [5] the fence's part of the energy.
class PairAllegroLegato : public Pair {
 public:
  PairAllegroLegato(class LAMMPS *);
  ~PairAllegroLegato() override;

  void compute(int, int) override;
  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;

 protected:
  std::unique_ptr<legato::Engine> engine_;
  std::vector<int> model_types_;    // LAMMPS type -> model type, or -1 for NULL
  double energy_unit_ = 1.0;        // of the unit style, per eV
  std::optional<int> block_;        // largest number of centres evaluated at once; else automatic
  int threads_;                     // blocks evaluated side by side
  legato::DeviceWish device_;

  // What a style on another device replaces.
  virtual void open_model(const std::string &path);
  virtual const legato::Metadata &model_metadata() const;
  virtual const legato::Device &model_device() const;
  virtual const legato::BlockSize &block_size() const;
  virtual const char *newton_remedy() const;

  int n_failures_ = 0;    // blocks that did not fit into the memory, on all ranks, when last told

  void allocate();
  void set_device(const char *name);
  void load_model(const std::string &path);
  void stop_if_any_failed(std::string message) const;
  void map_types(int narg, char **names);
  void check_special_bonds();
  legato::NodeProcess node_process() const;
  void warn_of_smaller_blocks();
  void store_domain(const double smallest_ratio, const double n_outside, const double largest);
  void store_fence(const double n_edges, const double energy);
};

}    // namespace LAMMPS_NS

#endif
#endif
