// SPDX-License-Identifier: MIT
// The engine that LAMMPS runs, for Python.
#include "crash_report.h"

#include "core/engine.h"
#include "core/error.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace py = pybind11;

namespace {

template <class T> using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

void require(bool holds, const std::string &message)
{
  if (!holds) throw legato::Error(message);
}

legato::DeviceWish device_wish(const std::string &name)
{
  if (name == "auto") return legato::DeviceWish::automatic;
  if (name == "cpu") return legato::DeviceWish::cpu;
  require(name == "cuda", "device must be auto, cpu or cuda");
  return legato::DeviceWish::gpu;
}

// Python's own functions for paths: torch's libraries export a part of std::filesystem that was
// compiled elsewhere, and an extension module would get a mixture of theirs and the system's
// (github.com/pytorch/pytorch/issues/133437).
std::string bytes_of(const py::object &path)
{
  return py::bytes(py::module_::import("os").attr("fsencode")(path));
}

py::object absolute(const py::object &path)
{
  const auto os = py::module_::import("os");
  const py::object text = os.attr("fsdecode")(path);
  if (py::cast<bool>(os.attr("path").attr("isabs")(text))) return text;
  return os.attr("path").attr("join")(os.attr("getcwd")(), text);
}

// Knows how it was opened, so that Python can open it again in another process.
struct Engine : legato::Engine {
  std::string path;    // absolute: the other process may be in another folder
  std::string device;
  Engine(const py::object &file, int threads, std::optional<int> block, const std::string &wish) :
      legato::Engine(bytes_of(file), legato::EngineOptions{threads, block, device_wish(wish)}),
      path(bytes_of(absolute(file))), device(wish)
  {
  }
};

// Energies, forces and virials of the first n_centers atoms' energies.
py::dict compute(Engine &engine, const Array<double> &positions, const Array<int> &types,
                 const Array<std::int64_t> &offsets, const Array<int> &neighbors, bool with_forces,
                 bool with_atomic_virials)
{
  require(positions.ndim() == 2 && positions.shape(1) == 3, "positions must have shape (n, 3)");
  const auto n_atoms = positions.shape(0);
  require(types.ndim() == 1 && types.shape(0) == n_atoms, "types must have shape (n,)");
  require(offsets.ndim() == 1 && offsets.shape(0) >= 1 && offsets.shape(0) <= n_atoms + 1,
          "offsets must have shape (n_centers + 1,)");
  const auto n_centers = static_cast<int>(offsets.shape(0)) - 1;
  const int num_types = engine.evaluator().metadata().num_types();
  for (py::ssize_t i = 0; i < n_atoms; ++i)
    require(types.at(i) >= -1 && types.at(i) < num_types,
            "types must lie between 0 and " + std::to_string(num_types - 1) + ", or be -1");
  for (py::ssize_t k = 0; k < neighbors.size(); ++k)
    require(neighbors.at(k) >= 0 && neighbors.at(k) < n_atoms, "a neighbor index is not an atom");

  std::vector<int> centers(n_centers), counts(n_centers), type_map(num_types + 1);
  std::vector<const int *> rows(n_centers);
  for (int i = 0; i < n_centers; ++i) {
    require(0 <= offsets.at(i) && offsets.at(i) <= offsets.at(i + 1) &&
                offsets.at(i + 1) <= neighbors.size(),
            "offsets must rise from 0 to the number of neighbors");
    centers[i] = i;
    counts[i] = static_cast<int>(offsets.at(i + 1) - offsets.at(i));
    rows[i] = neighbors.data() + offsets.at(i);
  }
  // Shifted by one, so that the invisible type -1 has an entry.
  for (int type = 0; type <= num_types; ++type) type_map[type] = type - 1;

  const py::ssize_t n_forces = with_forces ? n_atoms : 0;
  with_atomic_virials = with_atomic_virials && with_forces;
  const py::ssize_t n_virials = with_atomic_virials ? n_atoms : 0;
  py::array_t<double> forces({n_forces, py::ssize_t(3)}), atomic_energy(n_atoms), virial(6),
      atomic_virial({n_virials, py::ssize_t(6)}), centroid_virial({n_virials, py::ssize_t(9)});
  for (auto *array : {&forces, &atomic_energy, &virial, &atomic_virial, &centroid_virial})
    std::fill_n(array->mutable_data(), array->size(), 0.0);

  legato::System system;
  system.n_atoms = n_atoms;
  system.positions = positions.data();
  system.types = types.data();
  system.type_map = type_map.data() + 1;
  system.n_centers = n_centers;
  system.centers = centers.data();
  system.n_neighbors = counts.data();
  system.neighbors = rows.data();
  legato::Output output;
  output.atomic_energy = atomic_energy.mutable_data();
  if (with_forces) {
    output.forces = forces.mutable_data();
    output.virial = virial.mutable_data();
  }
  if (with_atomic_virials) {
    output.atomic_virial = atomic_virial.mutable_data();
    output.centroid_virial = centroid_virial.mutable_data();
  }
  {
    const py::gil_scoped_release release;
    engine.compute(system, output);
  }

  py::dict result;
  result["energy"] = output.energy;
  result["atomic_energy"] = atomic_energy;
  if (with_forces) {
    result["forces"] = forces;
    result["virial"] = virial;
    result["largest_edge_force"] = output.largest_edge_force;
  }
  if (with_atomic_virials) {
    result["atomic_virial"] = atomic_virial;
    result["centroid_virial"] = centroid_virial;
  }
  result["smallest_distance_ratio"] = output.smallest_distance_ratio;
  result["n_outside"] = output.n_outside;
  result["n_fenced"] = output.n_fenced;
  result["fence_energy"] = output.fence_energy;
  return result;
}

}    // namespace

PYBIND11_MODULE(LEGATO_MODULE, module)
{
  module.doc() = "The engine behind pair_style allegro_legato.";
  py::register_exception<legato::Error>(module, "EngineError");
  module.def("report_crashes", &legato::report_crashes,
             "From now on, a crash of the process writes to stderr where it happened: one line "
             "\"frame: ...\" for each function, innermost first.");
  py::class_<Engine>(module, "Engine", "A deployed model and the threads that evaluate it.")
      // a path, not text: its bytes need not be valid text in this locale
      .def(py::init([](const py::object &path, int threads, std::optional<int> block,
                       const std::string &device) {
             return std::make_unique<Engine>(path, threads, block, device);
           }),
           py::arg("path"), py::kw_only(), py::arg("threads") = 1, py::arg("block") = py::none(),
           py::arg("device") = "cpu")
      .def(
          "compute", &compute, py::arg("positions"), py::arg("types"), py::arg("offsets"),
          py::arg("neighbors"), py::arg("with_forces") = true,
          py::arg("with_atomic_virials") = true,
          "Evaluate the first len(offsets) - 1 atoms as centers.\n\n"
          "positions: (n, 3) float64, Angstrom, centers first, then their images\n"
          "types: (n,) int, model types, -1 for atoms that the model does not see\n"
          "offsets: (n_centers + 1,) int, row starts in neighbors\n"
          "neighbors: (n_pairs,) int, candidates of a full neighbor list\n\n"
          "Returns a dict: energy (eV), atomic_energy (n,), forces (n, 3) in eV/A, virial (6,)\n"
          "xx yy zz xy xz yz in eV, atomic_virial (n, 6), centroid_virial (n, 9), and the\n"
          "comparison with the training data. Without forces the model is not differentiated, and\n"
          "only energies and distances are returned; per-atom virials can be left out, too.")
      .def("model_seconds", &Engine::model_seconds,
           "Processor time inside the model since the start, over all threads.")
      .def_property_readonly("path",
                             [](const Engine &e) {
                               const auto text =
                                   py::module_::import("os").attr("fsdecode")(py::bytes(e.path));
                               return py::module_::import("pathlib").attr("Path")(text);
                             })
      .def_property_readonly("device", [](const Engine &e) { return e.device; })
      .def_property_readonly("type_names",
                             [](const Engine &e) { return e.evaluator().metadata().type_names; })
      .def_property_readonly(
          "cutoff", [](const Engine &e) { return e.evaluator().metadata().cutoff; }, "Angstrom")
      .def_property_readonly("dtype",
                             [](const Engine &e) { return e.evaluator().metadata().dtype; })
      .def_property_readonly("threads", [](const Engine &e) { return e.options().threads; })
      .def_property_readonly("block",
                             [](const Engine &e) { return e.evaluator().block_size().limit(); })
      .def_property_readonly("chosen_block", [](const Engine &e) { return e.options().block; });
}
