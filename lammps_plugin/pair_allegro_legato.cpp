/* ----------------------------------------------------------------------
   nequip-legato: Allegro models in LAMMPS.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "pair_allegro_legato.h"

#include "core/block_size.h"
#include "core/device.h"
#include "core/engine.h"
#include "core/error.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "universe.h"
#include "update.h"
#include "utils.h"

#include <cstring>

using namespace LAMMPS_NS;

namespace {

constexpr int kDomainValues = 5;
constexpr const char *kKeywords = "block N, threads N, device auto|cpu|cuda";

}    // namespace

PairAllegroLegato::PairAllegroLegato(LAMMPS *lmp) :
    Pair(lmp), threads_(comm->nthreads), device_(legato::DeviceWish::automatic)
{
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;    // the virial comes from the edges, per atom too
  centroidstressflag = CENTROID_AVAIL;
  nextra = kDomainValues;
  pvector = new double[kDomainValues]();
}

PairAllegroLegato::~PairAllegroLegato()
{
  if (copymode) return;
  delete[] pvector;
  if (allocated) {
    memory->destroy(setflag);
    memory->destroy(cutsq);
  }
}

void PairAllegroLegato::allocate()
{
  allocated = 1;
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
}

void PairAllegroLegato::settings(int narg, char **arg)
{
  for (int iarg = 0; iarg < narg; iarg += 2) {
    const bool is_block = strcmp(arg[iarg], "block") == 0;
    const bool is_device = strcmp(arg[iarg], "device") == 0;
    if (!is_block && !is_device && strcmp(arg[iarg], "threads") != 0)
      error->all(FLERR, "Unknown keyword {} of pair style allegro_legato; the known ones are: {}",
                 arg[iarg], kKeywords);
    if (iarg + 1 >= narg)
      error->all(FLERR, "Keyword {} of pair style allegro_legato needs {}", arg[iarg],
                 is_device ? "auto, cpu or cuda" : "a number");
    if (is_device) {
      set_device(arg[iarg + 1]);
      continue;
    }
    const int number = utils::inumeric(FLERR, arg[iarg + 1], false, lmp);
    if (number < 1)
      error->all(FLERR, "Keyword {} of pair style allegro_legato must be positive, but is {}",
                 arg[iarg], number);
    if (is_block)
      block_ = number;
    else
      threads_ = number;
  }
}

void PairAllegroLegato::set_device(const char *name)
{
  if (strcmp(name, "auto") == 0)
    device_ = legato::DeviceWish::automatic;
  else if (strcmp(name, "cpu") == 0)
    device_ = legato::DeviceWish::cpu;
  else if (strcmp(name, "cuda") == 0)
    device_ = legato::DeviceWish::gpu;
  else
    error->all(FLERR,
               "Keyword device of pair style allegro_legato must be auto, cpu or cuda (also for "
               "AMD's GPUs), but is {}",
               name);
}

void PairAllegroLegato::coeff(int narg, char **arg)
{
  if (!allocated) allocate();
  if (narg != 3 + atom->ntypes)
    error->all(FLERR,
               "Pair style allegro_legato needs 'pair_coeff * * MODEL' and one model type name or "
               "NULL for each of the {} atom types, but got {} arguments instead of {}",
               atom->ntypes, narg, 3 + atom->ntypes);
  const std::string found = utils::get_potential_file_path(arg[2]);
  load_model(found.empty() ? arg[2] : found);
  map_types(narg - 3, arg + 3);
}

void PairAllegroLegato::open_model(const std::string &path)
{
  engine_.reset();
  const legato::EngineOptions options{threads_, block_, device_, node_process()};
  engine_ = std::make_unique<legato::Engine>(path, options);
}

// The ranks of a node share its GPUs. Partitions of a run with several replicas have a communicator
// each, so counting starts where the partition does: alone on a node, they use different GPUs.
legato::NodeProcess PairAllegroLegato::node_process() const
{
  legato::NodeProcess process;
#ifndef MPI_STUBS    // LAMMPS' stand-in for a single process
  MPI_Comm node;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  MPI_Comm_rank(node, &process.number);
  MPI_Comm_size(node, &process.count);
  MPI_Comm_free(&node);
#endif
  process.number += universe->root_proc[universe->iworld];
  return process;
}

const legato::Metadata &PairAllegroLegato::model_metadata() const
{
  return engine_->metadata();
}

const legato::Device &PairAllegroLegato::model_device() const
{
  return engine_->device();
}

const legato::BlockSize &PairAllegroLegato::block_size() const
{
  return engine_->block_size();
}

const char *PairAllegroLegato::newton_remedy() const
{
  return "'newton on'";
}

// Every rank reads the file, and all stop together if one cannot: were one to stop alone, MPI might
// end the run before that rank's message is printed.
void PairAllegroLegato::load_model(const std::string &path)
{
  std::string message;
  try {
    open_model(path);
  } catch (const std::exception &problem) {
    message = problem.what();
  }
  stop_if_any_failed(message);
  n_failures_ = 0;
  if (comm->me != 0) return;
  const bool measured = block_size().to_measure();
  utils::logmesg(
      lmp,
      "Pair style allegro_legato: model {} ({}, cutoff {} A, types {}), blocks of {}, {} thread(s) "
      "per MPI rank, on the {}\n",
      path, model_metadata().dtype, model_metadata().cutoff, model_metadata().joined_type_names(),
      measured ? "as many atoms as the memory allows"
               : fmt::format("up to {} atoms", block_size().limit()),
      threads_, model_device().is_cpu() ? "CPU" : "GPU");
}

// Error of all ranks with the message of the first that has one; nothing if every message is empty.
void PairAllegroLegato::stop_if_any_failed(std::string message) const
{
  int failed = !message.empty();    // not const: LAMMPS' stand-in for MPI takes no such pointers
  int failures = 0;
  MPI_Allreduce(&failed, &failures, 1, MPI_INT, MPI_SUM, world);
  if (failures == 0) return;
  int mine = failed ? comm->me : comm->nprocs;
  int first = mine;
  MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, world);
  int length = static_cast<int>(message.size());
  MPI_Bcast(&length, 1, MPI_INT, first, world);
  message.resize(length);
  MPI_Bcast(message.data(), length, MPI_CHAR, first, world);
  if (failures == comm->nprocs) error->all(FLERR, "{}", message);
  error->all(FLERR, "{} (on {} of {} MPI ranks, first on rank {})", message, failures, comm->nprocs,
             first);
}

// One warning for all ranks, on the next step on which the energy is wanted.
void PairAllegroLegato::warn_of_smaller_blocks()
{
  int mine = block_size().n_failures();
  int all = 0;
  MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_SUM, world);
  if (all == n_failures_) return;
  n_failures_ = all;
  int limit = block_size().limit();
  int smallest = limit;
  MPI_Allreduce(&limit, &smallest, 1, MPI_INT, MPI_MIN, world);
  if (comm->me == 0)
    error->warning(FLERR,
                   "Pair style allegro_legato: a block of atoms did not fit into the memory of the "
                   "{}; it was evaluated in parts, and the run goes on with blocks of up to {} "
                   "atoms ('block {}' avoids this warning)",
                   model_device().is_cpu() ? "CPU" : "GPU", smallest, smallest);
}

void PairAllegroLegato::map_types(int narg, char **names)
{
  const auto &metadata = model_metadata();
  model_types_.assign(narg + 1, -1);
  for (int i = 0; i < narg; ++i) {
    if (strcmp(names[i], "NULL") == 0) continue;
    model_types_[i + 1] = metadata.type_index(names[i]);
    if (model_types_[i + 1] < 0)
      error->all(FLERR, "The model has no atom type named {}; it has: {}", names[i],
                 metadata.joined_type_names());
  }
  int n_set = 0;
  for (int i = 1; i <= narg; ++i)
    for (int j = i; j <= narg; ++j) {
      setflag[i][j] = model_types_[i] >= 0 && model_types_[j] >= 0;
      n_set += setflag[i][j];
    }
  if (n_set == 0)
    error->all(FLERR,
               "Pair style allegro_legato: every atom type is NULL; name at least one of: {}",
               metadata.joined_type_names());
}

void PairAllegroLegato::init_style()
{
  if (force->newton_pair == 0)
    error->all(FLERR, "Pair style allegro_legato requires newton pair on; use {}", newton_remedy());
  if (strcmp(update->unit_style, "metal") == 0)
    energy_unit_ = 1.0;
  else if (strcmp(update->unit_style, "real") == 0)
    energy_unit_ = utils::get_conversion_factor(utils::ENERGY, utils::METAL2REAL);
  else
    error->all(FLERR,
               "Pair style allegro_legato works in units metal and real, not in units {}; use "
               "'units metal'",
               update->unit_style);
  check_special_bonds();
  neighbor->add_request(this, NeighConst::REQ_FULL);
}

// LAMMPS drops bonded neighbours with a factor of zero from its lists; the model needs them all.
void PairAllegroLegato::check_special_bonds()
{
  if (atom->molecular == Atom::ATOMIC) return;
  for (int i = 1; i < 4; ++i)
    if (force->special_lj[i] == 0.0 && force->special_coul[i] == 0.0)
      error->all(FLERR,
                 "Pair style allegro_legato needs bonded neighbours too, but special_bonds removes "
                 "them; use 'special_bonds lj/coul 1.0 1.0 1.0'");
}

double PairAllegroLegato::init_one(int i, int j)
{
  if (setflag[i][j] == 0) error->all(FLERR, "All pair coeffs are not set");
  const auto &metadata = model_metadata();
  const int a = model_types_[i], b = model_types_[j], n = metadata.num_types();
  return MAX(metadata.edge_cutoffs[a * n + b], metadata.edge_cutoffs[b * n + a]);
}

void PairAllegroLegato::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);

  legato::System system;
  system.n_atoms = static_cast<std::int64_t>(atom->nlocal) + atom->nghost;
  system.n_centres = list->inum;
  system.types = atom->type;
  system.type_map = model_types_.data();
  system.centres = list->ilist;
  system.n_neighbours = list->numneigh;
  system.neighbours = list->firstneigh;
  system.neighbour_mask = NEIGHMASK;

  legato::Output output;
  output.energy_unit = energy_unit_;
  if (system.n_atoms > 0) {
    system.positions = &atom->x[0][0];
    output.forces = &atom->f[0][0];
  }
  if (eflag_atom) output.atomic_energy = eatom;
  if (vflag_global) output.virial = virial;
  if (vflag_atom) output.atomic_virial = &vatom[0][0];
  if (cvflag_atom) output.centroid_virial = &cvatom[0][0];

  try {
    engine_->compute(system, output);
  } catch (const std::exception &problem) {
    error->one(FLERR, "Pair style allegro_legato: {}", problem.what());
  }

  if (eflag_global) {
    eng_vdwl += output.energy;
    warn_of_smaller_blocks();
    store_domain(output.smallest_distance_ratio, static_cast<double>(output.n_outside),
                 output.largest_edge_force);
    store_fence(static_cast<double>(output.n_fenced), output.fence_energy);
  }
}

// compute pair adds these values up over ranks, so extremes are left on the first rank only.
void PairAllegroLegato::store_domain(const double smallest_ratio, const double n_outside,
                                     const double largest)
{
  double mine[2] = {-smallest_ratio, largest};
  double all[2];
  MPI_Allreduce(mine, all, 2, MPI_DOUBLE, MPI_MAX, world);
  pvector[0] = comm->me == 0 ? -all[0] : 0.0;
  pvector[1] = n_outside;
  pvector[2] = comm->me == 0 ? all[1] : 0.0;
}

void PairAllegroLegato::store_fence(const double n_edges, const double energy)
{
  pvector[3] = n_edges;
  pvector[4] = energy;
}
