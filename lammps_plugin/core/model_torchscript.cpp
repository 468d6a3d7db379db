// SPDX-License-Identifier: MIT
#include "error.h"
#include "failures.h"
#include "model_formats.h"
#include "stopwatch.h"
#include "tensors.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

namespace legato {

namespace {

class TorchScriptModel : public Model {
 public:
  TorchScriptModel(const std::string &path, const Device &device)
  {
    device_ = device;
    torch::jit::ExtraFilesMap extra;
    for (const auto &key : metadata_keys()) extra[key] = "";
    try {
      module_ = torch::jit::load(path, torch_device(device), extra);
    } catch (const std::exception &problem) {
      throw_load_failure(path, "it is damaged, incomplete or not TorchScript", problem);
    }
    metadata_ = parse_metadata(StringMap(extra.begin(), extra.end()), path);
    module_.eval();
    find_energy_part();
    module_ = torch::jit::freeze(module_);
  }

  void evaluate(Block &block, BlockResult &result) override
  {
    const StreamScope stream(device_);
    with_failures(device_, [&] {
      const auto outputs = run(module_, block, result);
      read_results(outputs.at("atomic_energy").toTensor(), outputs.at("edge_forces").toTensor(),
                   block, result);
    });
  }

  void evaluate_energy(Block &block, BlockResult &result) override
  {
    if (has_energy_part_) {
      const StreamScope stream(device_);
      const at::NoGradGuard no_gradient;
      with_failures(device_, [&] {
        const auto outputs = run(energy_, block, result);
        read_energy(outputs.at("atomic_energy").toTensor(), block, result);
      });
    } else {
      evaluate(block, result);
      result.edge_forces = nullptr;
    }
  }

  void evaluate_view(const BlockView &block, BlockViewResult &result) override
  {
    const StreamScope stream(device_);
    with_failures(device_, [&] {
      const auto outputs = forward(module_, viewed(block, device_));
      keep_result(outputs.at("atomic_energy").toTensor(), outputs.at("edge_forces").toTensor(),
                  block, result);
    });
  }

  void evaluate_view_energy(const BlockView &block, BlockViewResult &result) override
  {
    if (has_energy_part_) {
      const StreamScope stream(device_);
      const at::NoGradGuard no_gradient;
      with_failures(device_, [&] {
        const auto outputs = forward(energy_, viewed(block, device_));
        keep_energy(outputs.at("atomic_energy").toTensor(), block, result);
      });
    } else {
      evaluate_view(block, result);
      result.edge_forces = nullptr;
    }
  }

 private:
  using Outputs = c10::Dict<c10::IValue, c10::IValue>;

  // nequip's GraphModel holds ForceStressOutput, which holds the model of the energy. A model that
  // is built otherwise does the whole, and its forces are dropped.
  void find_energy_part()
  {
    torch::jit::Module part = module_;
    for (const char *name : {"model", "func"}) {
      if (!part.hasattr(name) || !part.attr(name).isModule()) return;
      part = part.attr(name).toModule();
    }
    energy_ = torch::jit::freeze(part);
    has_energy_part_ = true;
  }

  static Outputs forward(torch::jit::Module &module, const ModelInputs &tensors)
  {
    // Blocks differ in their number of edges: code specialized to shapes would be thrown away.
    // The switch belongs to the thread.
    const torch::jit::GraphOptimizerEnabledGuard no_specialization(false);
    c10::Dict<std::string, at::Tensor> inputs;
    inputs.insert("pos", tensors.pos);
    inputs.insert("edge_index", tensors.edge_index);
    inputs.insert("atom_types", tensors.atom_types);
    inputs.insert("edge_vectors", tensors.edge_vectors);
    return module.forward({inputs}).toGenericDict();
  }

  Outputs run(torch::jit::Module &module, Block &block, BlockResult &result) const
  {
    const ModelInputs tensors = inputs_of(block, device_);
    const Stopwatch stopwatch;
    auto outputs = forward(module, tensors);
    result.model_seconds = stopwatch.seconds();
    return outputs;
  }

  torch::jit::Module module_, energy_;
  bool has_energy_part_ = false;
};

}    // namespace

std::unique_ptr<Model> load_torchscript(const std::string &path, const Device &device)
{
  return std::make_unique<TorchScriptModel>(path, device);
}

}    // namespace legato
