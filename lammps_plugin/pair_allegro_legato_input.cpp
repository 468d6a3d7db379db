/* ----------------------------------------------------------------------
   nequip-legato: the input lines of pair style allegro_legato.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "pair_allegro_legato.h"

#include "core/block_size.h"
#include "core/device.h"
#include "core/error.h"
#include "core/evaluator.h"
#include "pair_allegro_legato_node.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "memory.h"
#include "utils.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

using namespace LAMMPS_NS;

namespace {

constexpr const char *kKeywords = "block N, threads N, device auto|cpu|cuda";

// Model types by LAMMPS type. Throws Error for names that the model does not have.
std::vector<int> types_by_name(const legato::Metadata &metadata,
                               const std::vector<std::string> &names)
{
  std::vector<int> types(1, -1);
  for (const std::string &name : names) {
    types.push_back(name == "NULL" ? -1 : metadata.type_index(name));
    if (types.back() < 0 && name != "NULL")
      throw legato::Error("The model has no atom type named " + name +
                          "; it has: " + metadata.joined_type_names());
  }
  if (std::all_of(types.begin(), types.end(), [](const int type) { return type < 0; }))
    throw legato::Error(
        "Pair style allegro_legato: every atom type is NULL; name at least one of: " +
        metadata.joined_type_names());
  return types;
}

}    // namespace

PairAllegroLegato::Settings PairAllegroLegato::parsed_settings(int narg, char **arg) const
{
  Settings settings{{}, default_threads(), legato::DeviceWish::automatic};
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
      settings.device = parsed_device(arg[iarg + 1]);
      continue;
    }
    const int number = utils::inumeric(FLERR, arg[iarg + 1], false, lmp);
    if (number < 1)
      error->all(FLERR, "Keyword {} of pair style allegro_legato must be positive, but is {}",
                 arg[iarg], number);
    if (is_block)
      settings.block = number;
    else
      settings.threads = number;
  }
  try {
    legato::check_block_and_threads(settings.block, settings.threads);
  } catch (const legato::Error &problem) {
    error->all(FLERR, "Pair style allegro_legato: {}", problem.what());
  }
  return settings;
}

legato::DeviceWish PairAllegroLegato::parsed_device(const char *name) const
{
  if (strcmp(name, "cpu") == 0) return legato::DeviceWish::cpu;
  if (strcmp(name, "cuda") == 0) return legato::DeviceWish::gpu;
  if (strcmp(name, "auto") != 0)
    error->all(FLERR,
               "Keyword device of pair style allegro_legato must be auto, cpu or cuda (also for "
               "AMD's GPUs), but is {}",
               name);
  return legato::DeviceWish::automatic;
}

// Called by every pair_style line; a model that is there already goes on with the new settings.
void PairAllegroLegato::settings(int narg, char **arg)
{
  const Settings wanted = parsed_settings(narg, arg);
  if (!loaded_.model) {
    settings_ = wanted;
    return;
  }
  use(load({loaded_.name, loaded_.path, loaded_.names}, wanted), wanted);
}

void PairAllegroLegato::coeff(int narg, char **arg)
{
  if (narg != 3 + atom->ntypes)
    error->all(FLERR,
               "Pair style allegro_legato needs 'pair_coeff * * MODEL' and one model type name or "
               "NULL for each of the {} atom types, but got {} arguments instead of {}",
               atom->ntypes, narg, 3 + atom->ntypes);
  const std::string found = utils::get_potential_file_path(arg[2]);
  const std::string name = found.empty() ? arg[2] : found;
  use(load({name, name, {arg + 3, arg + narg}}, settings_), settings_);
}

// Every rank reads the file, and all stop together if one cannot: were one to stop alone, MPI might
// end the run before that rank's message is printed. Nothing of the style has changed then.
PairAllegroLegato::Loaded PairAllegroLegato::load(Loaded wanted, const Settings &settings) const
{
  const auto files = files_for_node(world, wanted.path);
  std::string message;
  try {
    wanted.model = open_model(wanted.path, settings, files);
    wanted.types = types_by_name(wanted.model->evaluator().metadata(), wanted.names);
    set_types(*wanted.model, wanted.types);
    wanted.path = std::filesystem::absolute(wanted.path).string();    // the folder may change
  } catch (const std::exception &problem) {
    message = problem.what();
  }
  stop_if_any_failed(message);
  return wanted;
}

void PairAllegroLegato::use(Loaded loaded, const Settings &settings)
{
  if (!allocated) {
    const int n = atom->ntypes + 1;
    memory->create(setflag, n, n, "pair:setflag");
    memory->create(cutsq, n, n, "pair:cutsq");
    allocated = 1;
  }
  settings_ = settings;
  loaded_ = std::move(loaded);
  n_failures_ = 0;
  const auto &types = loaded_.types;
  for (int i = 1; i <= atom->ntypes; ++i)
    for (int j = i; j <= atom->ntypes; ++j) setflag[i][j] = types[i] >= 0 && types[j] >= 0;

  if (comm->me != 0) return;
  const auto &metadata = evaluator().metadata();
  const auto &size = evaluator().block_size();
  utils::logmesg(
      lmp,
      "Pair style allegro_legato: model {} ({}, cutoff {} A, types {}), blocks of {}, {} thread(s) "
      "per MPI rank, on the {}\n",
      loaded_.name, metadata.dtype, metadata.cutoff, metadata.joined_type_names(),
      size.to_measure() ? "as many atoms as the memory allows"
                        : fmt::format("up to {} atoms", size.limit()),
      settings_.threads, evaluator().device().is_cpu() ? "CPU" : "GPU");
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
