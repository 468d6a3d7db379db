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
enum class DeviceWish;
class Evaluator;
struct Metadata;
struct NodeProcess;
class PackageFiles;
struct System;
}    // namespace legato

namespace LAMMPS_NS {

class LegatoListCheck;

// pair_style allegro_legato [block N] [threads N] [device auto|cpu|cuda]
// pair_coeff * * MODEL NAME...        one model type name, or NULL, per LAMMPS atom type
//
// compute pair gives five values: [1] smallest ratio of a distance to the shortest one of its type
// pair in training, [2] number of atoms that have a neighbor closer than any in training,
// [3] largest |dE/dr_ij| of an edge, in force units, [4] number of edges on which the model's fence
// acts, [5] the fence's part of the energy.
//
// Programs that use LAMMPS as a library survive errors: an input line that fails changes nothing.
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
  // The keywords of pair_style.
  struct Settings {
    std::optional<int> block;    // largest number of centers evaluated at once; else automatic
    int threads;                 // blocks evaluated side by side
    legato::DeviceWish device;
  };
  // A model in memory, with what a style needs to run it. The Kokkos style has its own kind.
  struct OpenModel {
    virtual ~OpenModel() = default;
    virtual const legato::Evaluator &evaluator() const = 0;
  };
  // All that pair_coeff makes. Replaced as a whole, once a new one is complete.
  struct Loaded {
    std::string name, path;            // of the file: as given, and from the root
    std::vector<std::string> names;    // for each LAMMPS type
    std::vector<int> types;            // LAMMPS type -> model type, or -1 for NULL; [0] is -1
    std::unique_ptr<OpenModel> model;
  };

  struct EngineModel;

  Settings settings_;
  Loaded loaded_;
  std::unique_ptr<LegatoListCheck> lists_;
  double energy_unit_ = 1.0;    // of the unit style, per eV

  // What a style on another device replaces.
  virtual int default_threads() const;
  virtual std::unique_ptr<OpenModel>
  open_model(const std::string &path, const Settings &,
             const std::shared_ptr<legato::PackageFiles> &files) const;
  virtual void set_types(OpenModel &, const std::vector<int> &) const {}
  virtual void request_list();
  virtual const char *newton_remedy() const;

  int n_failures_ = 0;    // blocks that did not fit into the memory, on all ranks, when last told

  Settings parsed_settings(int narg, char **arg) const;
  legato::DeviceWish parsed_device(const char *name) const;
  Loaded load(Loaded wanted, const Settings &settings) const;
  void use(Loaded loaded, const Settings &settings);
  void stop_if_any_failed(std::string message) const;
  bool energy_only() const;
  legato::System system(std::vector<int> &types) const;
  const legato::Evaluator &evaluator() const { return loaded_.model->evaluator(); }
  legato::NodeProcess node_process() const;
  void warn_of_smaller_blocks();
  void warn_of_exchanged_atoms() const;
  void store_domain(const double smallest_ratio, const double n_outside, const double largest);
  void store_fence(const double n_edges, const double energy);
};

}    // namespace LAMMPS_NS

#endif
#endif
