/* ----------------------------------------------------------------------
   nequip-legato: Allegro models in LAMMPS, on the device that Kokkos chose.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "pair_allegro_legato_kokkos.h"

#include "pair_allegro_legato_lists.h"

#include "core/block.h"
#include "core/block_size.h"
#include "core/block_view.h"
#include "core/device.h"
#include "core/error.h"
#include "core/evaluator.h"

#include "atom_kokkos.h"
#include "atom_masks.h"
#include "comm.h"
#include "error.h"
#include "kokkos.h"
#include "neigh_list_kokkos.h"
#include "neigh_request.h"
#include "neighbor.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

using namespace LAMMPS_NS;
using namespace LegatoKernels;

namespace {

constexpr int kAlign = 8;    // blocks begin at multiples of 64 bytes, as torch's own memory

template <class DeviceType> constexpr bool kIsHost = std::is_same_v<DeviceType, LMPHostType>;

// The device and the stream on which Kokkos runs this process' kernels.
template <class DeviceType> legato::Device kokkos_device()
{
  legato::Device device;
#if defined(KOKKOS_ENABLE_CUDA)
  if constexpr (std::is_same_v<DeviceType, Kokkos::Cuda>)
    device = {"cuda", Kokkos::Cuda().cuda_device(), Kokkos::Cuda().cuda_stream()};
#elif defined(KOKKOS_ENABLE_HIP)
  if constexpr (std::is_same_v<DeviceType, Kokkos::HIP>)
    device = {"cuda", Kokkos::HIP().hip_device(), Kokkos::HIP().hip_stream()};
#endif
  return device;
}

template <class View> void need(View &view, const std::string &name, const bigint size)
{
  if (static_cast<bigint>(view.extent(0)) >= size) return;
  view = View();    // gives its memory back first
  view = View(Kokkos::view_alloc(name, Kokkos::WithoutInitializing), size + size / 5);
}

template <class DeviceType, class T>
Kokkos::View<T *, DeviceType> uploaded(const std::string &name, const std::vector<T> &values)
{
  Kokkos::View<T *, DeviceType> view(name, values.size());
  Kokkos::View<const T *, Kokkos::HostSpace, Kokkos::MemoryUnmanaged> host(values.data(),
                                                                           values.size());
  Kokkos::deep_copy(view, host);
  return view;
}

}    // namespace

// A model on Kokkos' device, with what it is told about LAMMPS' atoms there.
template <class DeviceType> struct PairAllegroLegatoKokkos<DeviceType>::DeviceModel : OpenModel {
  legato::Evaluator model;
  LegatoKernels::Surroundings<DeviceType> around;    // without LAMMPS' own arrays

  DeviceModel(const std::string &path, const legato::EvaluatorOptions &options,
              const legato::Placement &placement) :
      model(path, options, [&placement] { return placement; })
  {
  }
  const legato::Evaluator &evaluator() const override { return model; }
};

template <class DeviceType> struct PairAllegroLegatoKokkos<DeviceType>::Batch {
  std::vector<Place> places;
  std::vector<legato::BlockView> views;
  std::vector<legato::BlockViewResult> results;
  std::vector<Tally> filled;

  explicit Batch(std::vector<Place> wanted) :
      places(std::move(wanted)), views(places.size()), results(places.size()), filled(places.size())
  {
  }
  int end() const { return places.back().first_center + places.back().n_centers; }
};

template <class DeviceType> struct PairAllegroLegatoKokkos<DeviceType>::Scatters {
  typename LegatoKokkosTypes<DeviceType>::Forces array;
  LegatoKernels::Scatter<decltype(array)> forces;
  LegatoKernels::Scatter<decltype(PerAtom<DeviceType>::virial)> virials;
  LegatoKernels::Scatter<decltype(PerAtom<DeviceType>::centroid)> centroids;
};

template <class DeviceType>
PairAllegroLegatoKokkos<DeviceType>::PairAllegroLegatoKokkos(LAMMPS *lmp) : PairAllegroLegato(lmp)
{
  if (!lmp->kokkos)
    error->all(FLERR,
               "Pair style allegro_legato/kk needs Kokkos to be switched on; run LAMMPS with "
               "'-k on ... -sf kk' or use pair style allegro_legato");
  respa_enable = 0;
  kokkosable = 1;
  atomKK = (AtomKokkos *)atom;
  execution_space = ExecutionSpaceFromDevice<DeviceType>::space;
  datamask_read = X_MASK | F_MASK | TYPE_MASK | MASK_MASK | ENERGY_MASK | VIRIAL_MASK;
  datamask_modify = F_MASK | ENERGY_MASK | VIRIAL_MASK;
}

template <class DeviceType>
PairAllegroLegatoKokkos<DeviceType>::~PairAllegroLegatoKokkos() = default;

template <class DeviceType> int PairAllegroLegatoKokkos<DeviceType>::default_threads() const
{
  // on a GPU, blocks would only share the device
  return kIsHost<DeviceType> ? PairAllegroLegato::default_threads() : 1;
}

template <class DeviceType>
std::unique_ptr<PairAllegroLegato::OpenModel> PairAllegroLegatoKokkos<DeviceType>::open_model(
    const std::string &path, const Settings &settings,
    const std::shared_ptr<legato::PackageFiles> &files) const
{
  // Asks all ranks, so it comes before whatever may fail on one of them.
  const int sharers = legato::processes_per_gpu(node_process(), lmp->kokkos->ngpus);
  const legato::Device device = kokkos_device<DeviceType>();
  if (settings.device == legato::DeviceWish::cpu && !device.is_cpu())
    throw legato::Error("'device cpu' was asked for, but Kokkos runs this pair style on a GPU; "
                        "leave 'device' out, or use pair style allegro_legato/kk/host");
  if (settings.device == legato::DeviceWish::gpu && device.is_cpu())
    throw legato::Error("'device cuda' was asked for, but Kokkos runs this pair style on the CPU; "
                        "run a LAMMPS with Kokkos for GPUs with '-k on g 1', or use pair style "
                        "allegro_legato after 'suffix off'");
  legato::check_block_and_threads(settings.block, settings.threads);
  return std::make_unique<DeviceModel>(
      path, legato::EvaluatorOptions{settings.threads, settings.block, files},
      legato::Placement{device, sharers});
}

template <class DeviceType>
typename PairAllegroLegatoKokkos<DeviceType>::DeviceModel &
PairAllegroLegatoKokkos<DeviceType>::device_model() const
{
  return static_cast<DeviceModel &>(*loaded_.model);
}

template <class DeviceType> const char *PairAllegroLegatoKokkos<DeviceType>::newton_remedy() const
{
  return "'newton on' and '-pk kokkos newton on neigh half' (the model has its own full list)";
}

template <class DeviceType> void PairAllegroLegatoKokkos<DeviceType>::request_list()
{
  // Not the one that find_request would find: that may be left from a run that failed to start.
  auto *request = neighbor->add_request(this, NeighConst::REQ_FULL);
  request->set_kokkos_host(kIsHost<DeviceType> && !std::is_same_v<DeviceType, LMPDeviceType>);
  request->set_kokkos_device(std::is_same_v<DeviceType, LMPDeviceType>);
}

template <class DeviceType>
void PairAllegroLegatoKokkos<DeviceType>::set_types(OpenModel &model,
                                                    const std::vector<int> &types) const
{
  auto &around = static_cast<DeviceModel &>(model).around;
  const auto &metadata = model.evaluator().metadata();
  const auto &limits = model.evaluator().limits();
  around.model_type_of = uploaded<DeviceType>("legato:model_type", types);
  around.cutoff_squared = uploaded<DeviceType>("legato:cutoff", limits.cutoff_squared);
  around.inverse_shortest_squared =
      uploaded<DeviceType>("legato:shortest", limits.inverse_shortest_squared);
  around.num_types = metadata.num_types();
  around.fence_table = uploaded<DeviceType>("legato:fence", metadata.fence_table);
  around.fence_columns = metadata.fence_columns;
}

template <class DeviceType> int PairAllegroLegatoKokkos<DeviceType>::find_centers()
{
  auto *klist = static_cast<NeighListKokkos<DeviceType> *>(list);
  around_ = device_model().around;
  around_.absent_bits = lists_->absent_bits();
  around_.mask = atomKK->k_mask.template view<DeviceType>();
  around_.x = atomKK->k_x.template view<DeviceType>();
  around_.type = atomKK->k_type.template view<DeviceType>();
  around_.neighbors = klist->d_neighbors;
  around_.n_neighbors = klist->d_numneigh;
  need(centers_, "legato:centers", list->inum);
  int n_centers = 0;
  Kokkos::parallel_scan("legato:centers", Policy(0, list->inum),
                        FindCenters<DeviceType>{around_, klist->d_ilist, centers_}, n_centers);
  return n_centers;
}

template <class DeviceType>
void PairAllegroLegatoKokkos<DeviceType>::check_lists(const int n_centers)
{
  if (!lists_->due()) return;
  if (lists_->reads_atoms())
    atomKK->sync(Host, TYPE_MASK | MASK_MASK | TAG_MASK | MOLECULE_MASK | SPECIAL_MASK);
  lists_->check(this, list, loaded_.types);
  int n_atoms = 0;
  Kokkos::parallel_reduce("legato:atoms", Policy(0, atom->nlocal), CountAtoms<DeviceType>{around_},
                          n_atoms);
  lists_->check_centers(n_centers, n_atoms);
}

template <class DeviceType>
void PairAllegroLegatoKokkos<DeviceType>::count_edges(const int n_centers)
{
  if (static_cast<int>(first_edge_.extent(0)) < n_centers + 1) {
    // Kokkos sets it to zero, and the first element stays zero.
    first_edge_ = decltype(first_edge_)("legato:first_edge", n_centers + n_centers / 5 + 1);
    host_first_edge_ = Kokkos::create_mirror_view(first_edge_);
  }
  Kokkos::parallel_for("legato:count", Policy(0, n_centers),
                       CountEdges<DeviceType>{around_, centers_, first_edge_});
  Kokkos::parallel_scan("legato:scan", Policy(0, n_centers), SumEdges<DeviceType>{first_edge_});
  Kokkos::deep_copy(host_first_edge_, first_edge_);    // waits for the kernels
}

// The blocks that are evaluated side by side next.
template <class DeviceType>
std::vector<Place> PairAllegroLegatoKokkos<DeviceType>::next_places(int begin, const int n_centers,
                                                                    const int size) const
{
  const auto align = [](const bigcount n) { return (n + kAlign - 1) / kAlign * kAlign; };
  std::vector<Place> places;
  bigcount node = 0, edge = 0;
  while (begin < n_centers && static_cast<int>(places.size()) < settings_.threads) {
    Place place;
    place.first_center = begin;
    place.n_centers = std::min(size, n_centers - begin);
    begin += place.n_centers;
    place.n_real_edges = host_first_edge_(begin) - host_first_edge_(place.first_center);
    place.n_edges = std::max<bigcount>(legato::kMinEdges, place.n_real_edges);
    place.node = node;
    place.edge = edge;
    node += align(place.n_centers + around_.num_types);
    edge += align(place.n_edges);
    places.push_back(place);
  }
  return places;
}

template <class DeviceType>
void PairAllegroLegatoKokkos<DeviceType>::reserve(const std::vector<Place> &places)
{
  const Place &last = places.back();
  const bigcount n_edges = last.edge + last.n_edges;
  try {
    need(arrays_.atom_types, "legato:atom_types", last.node + last.n_centers + around_.num_types);
    need(arrays_.edge_index, "legato:edge_index", 2 * n_edges);
    need(arrays_.edge_vectors, "legato:edge_vectors", 3 * n_edges);
    need(arrays_.neighbors, "legato:neighbors", n_edges);
  } catch (const std::exception &problem) {    // Kokkos has no exception of its own for it
    throw legato::OutOfMemory(problem.what());
  }
}

template <class DeviceType> void PairAllegroLegatoKokkos<DeviceType>::clear_per_atom()
{
  // Zeroed when made, and only there on steps that ask for them.
  const int n = atom->nlocal + atom->nghost;
  per_atom_ = PerAtom<DeviceType>();
  if (eflag_atom) per_atom_.energy = decltype(per_atom_.energy)("legato:eatom", n);
  if (vflag_atom) per_atom_.virial = decltype(per_atom_.virial)("legato:vatom", n);
  if (cvflag_atom) per_atom_.centroid = decltype(per_atom_.centroid)("legato:cvatom", n);
}

// LAMMPS reads per-atom arrays on the host, and ev_init has made and zeroed them there.
template <class DeviceType> void PairAllegroLegatoKokkos<DeviceType>::add_per_atom()
{
  const auto fetch = [](const auto &device, double *host) {
    if (device.extent(0) == 0) return;
    using DeviceView = std::decay_t<decltype(device)>;
    Kokkos::View<typename DeviceView::data_type, Kokkos::LayoutRight, Kokkos::HostSpace,
                 Kokkos::MemoryUnmanaged>
        view(host, device.extent(0));
    Kokkos::deep_copy(view, device);
  };
  if (eflag_atom) fetch(per_atom_.energy, eatom);
  if (vflag_atom && vatom) fetch(per_atom_.virial, &vatom[0][0]);
  if (cvflag_atom && cvatom) fetch(per_atom_.centroid, &cvatom[0][0]);
  per_atom_ = PerAtom<DeviceType>();
}

template <class DeviceType>
typename PairAllegroLegatoKokkos<DeviceType>::Scatters
PairAllegroLegatoKokkos<DeviceType>::scatters()
{
  using Kokkos::Experimental::create_scatter_view;
  auto forces = atomKK->k_f.template view<DeviceType>();
  return {forces, create_scatter_view(forces), create_scatter_view(per_atom_.virial),
          create_scatter_view(per_atom_.centroid)};
}

template <class DeviceType> void PairAllegroLegatoKokkos<DeviceType>::contribute(Scatters &scatters)
{
  Kokkos::Experimental::contribute(scatters.array, scatters.forces);
  Kokkos::Experimental::contribute(per_atom_.virial, scatters.virials);
  Kokkos::Experimental::contribute(per_atom_.centroid, scatters.centroids);
}

template <class DeviceType> void PairAllegroLegatoKokkos<DeviceType>::fill(Batch &batch)
{
  reserve(batch.places);
  for (std::size_t b = 0; b < batch.places.size(); ++b) {
    const Place &place = batch.places[b];
    FillBlock<DeviceType> fill;
    fill.around = around_;
    fill.centers = centers_;
    fill.first_edge = first_edge_;
    fill.block = arrays_;
    fill.place = place;
    fill.padding_distance = 0.5 * evaluator().metadata().cutoff;
    // Waits for the kernel, because its sums go to the host. On a GPU the model is queued on the
    // same stream anyway.
    Kokkos::parallel_reduce("legato:fill", Policy(0, place.n_centers + around_.num_types), fill,
                            batch.filled[b]);
    legato::BlockView &view = batch.views[b];
    view.n_centers = place.n_centers;
    view.n_nodes = place.n_centers + around_.num_types;
    view.n_edges = place.n_edges;
    view.atom_types = arrays_.atom_types.data() + place.node;
    view.edge_index = arrays_.edge_index.data() + 2 * place.edge;
    view.edge_vectors = arrays_.edge_vectors.data() + 3 * place.edge;
  }
  // torch reads what the kernels wrote: on the host from other threads, so the kernels must be
  // over. (With a reduction they are; this does not hang on it.)
  if constexpr (kIsHost<DeviceType>) DeviceType().fence("legato: blocks before the model");
}

template <class DeviceType>
void PairAllegroLegatoKokkos<DeviceType>::evaluate(Batch &batch, const bool energies_alone)
{
  legato::Evaluator &with = device_model().model;
  with.run([&](const int worker) {
    if (worker >= static_cast<int>(batch.views.size())) return;
    if (energies_alone)
      with.model().evaluate_view_energy(batch.views[worker], batch.results[worker]);
    else
      with.model().evaluate_view(batch.views[worker], batch.results[worker]);
  });
}

template <class DeviceType>
void PairAllegroLegatoKokkos<DeviceType>::scatter(const Batch &batch, const Scatters &scatters,
                                                  Tally &total) const
{
  for (std::size_t b = 0; b < batch.places.size(); ++b) {
    // On a GPU this is queued behind the model, on the same stream; torch's results are given back
    // afterwards and reused, if at all, by later work of that stream.
    ScatterBlock<DeviceType> scatter;
    scatter.centers = centers_;
    scatter.first_edge = first_edge_;
    scatter.block = arrays_;
    scatter.place = batch.places[b];
    scatter.atomic_energy = batch.results[b].atomic_energy;
    scatter.edge_forces = batch.results[b].edge_forces;
    scatter.unit = energy_unit_;
    scatter.with_virial = vflag_either;
    scatter.per_atom = per_atom_;
    scatter.forces = scatters.forces;
    scatter.virials = scatters.virials;
    scatter.centroids = scatters.centroids;
    Tally added;
    Kokkos::parallel_reduce("legato:scatter", Policy(0, batch.places[b].n_centers), scatter, added);
    total.add(batch.filled[b]);
    total.add(added);
  }
}

template <class DeviceType> void PairAllegroLegatoKokkos<DeviceType>::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);
  atomKK->sync(execution_space, datamask_read);
  atomKK->modified(execution_space, datamask_modify);

  const int n_centers = find_centers();
  check_lists(n_centers);
  if (n_centers > 0) count_edges(n_centers);
  clear_per_atom();
  Scatters into = scatters();    // made once per step

  Tally total;
  const bool energies_alone = energy_only();
  legato::Evaluator &with = device_model().model;
  const int threads = with.threads();
  int size = legato::centers_per_block(n_centers, with.limit(), threads);
  with.begin_step();
  for (int begin = 0; begin < n_centers;) {
    Batch batch(next_places(begin, n_centers, size));
    try {
      try {
        fill(batch);
        evaluate(batch, energies_alone);
      } catch (const legato::OutOfMemory &problem) {
        with.does_not_fit(size, problem.what());
        size = with.limit();
        continue;    // nothing of these blocks has been added yet
      }
    } catch (const std::exception &problem) {
      error->one(FLERR, "Pair style allegro_legato: {}", problem.what());
    }
    scatter(batch, into, total);
    begin = batch.end();
  }
  contribute(into);
  add_per_atom();
  with.end_step(std::min(n_centers, threads * size));
  store(total, energies_alone);
}

template <class DeviceType>
void PairAllegroLegatoKokkos<DeviceType>::store(const Tally &total, const bool energies_alone)
{
  if (vflag_global)
    for (int k = 0; k < 6; ++k) virial[k] += total.virial[k];
  if (!eflag_global) return;
  eng_vdwl += total.energy;
  warn_of_smaller_blocks();
  if (energies_alone) return;
  store_domain(std::sqrt(total.smallest_squared), static_cast<double>(total.n_outside),
               std::sqrt(total.largest_squared));
  store_fence(static_cast<double>(total.n_fenced), energy_unit_ * total.fence_energy);
}

template <class DeviceType> double PairAllegroLegatoKokkos<DeviceType>::memory_usage()
{
  const auto bytes = [](const auto &view) {
    return static_cast<double>(view.span()) * sizeof(*view.data());
  };
  return Pair::memory_usage() + bytes(centers_) + bytes(first_edge_) + bytes(arrays_.atom_types) +
         bytes(arrays_.edge_index) + bytes(arrays_.edge_vectors) + bytes(arrays_.neighbors);
}

namespace LAMMPS_NS {
template class PairAllegroLegatoKokkos<LMPDeviceType>;
#ifdef LMP_KOKKOS_GPU
template class PairAllegroLegatoKokkos<LMPHostType>;
#endif
}    // namespace LAMMPS_NS
