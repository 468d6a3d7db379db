// SPDX-License-Identifier: MIT
#include "error.h"
#include "failures.h"
#include "model_formats.h"
#include "stopwatch.h"
#include "tensors.h"

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <sstream>

namespace legato {

namespace {

#if defined(__x86_64__)
constexpr const char *kMachine = "x86_64";
bool has_instructions(const std::string &set)
{
  if (set == "AVX2") return __builtin_cpu_supports("avx2");
  if (set == "AVX512")
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (set == "AVX512_VNNI") return __builtin_cpu_supports("avx512vnni");
  return true;
}
#else
#if defined(__aarch64__)
constexpr const char *kMachine = "aarch64";
#else
constexpr const char *kMachine = "";
#endif
bool has_instructions(const std::string &)
{
  return true;
}
#endif

// The file holds machine code: on a processor that lacks its instructions it would crash.
void check_processor(const StringMap &entries, const std::string &path)
{
  const auto stored = [&entries](const char *key) {
    const auto found = entries.find(key);
    return found == entries.end() ? std::string() : found->second;
  };
  const std::string remedy =
      "; deploy it here again with 'nequip-deploy build', or use TorchScript "
      "(.nequip.pth), which runs anywhere";
  const std::string machine = stored("AOTI_MACHINE");
  if (!machine.empty() && kMachine[0] != '\0' && machine != kMachine)
    throw Error("model file '" + path + "' was compiled for " + machine +
                " processors, but this is " + kMachine + remedy);
  std::istringstream sets(stored("AOTI_CPU_ISA"));
  for (std::string set; sets >> set;)
    if (!has_instructions(set))
      throw Error("model file '" + path + "' was compiled for processors with " + set +
                  " instructions, which this one lacks" + remedy);
}

Error unreadable(const std::string &path, const std::string &reason)
{
  return Error("cannot load model file '" + path +
               "', it is damaged, incomplete, or compiled for another machine or torch; deploy "
               "it again with 'nequip-deploy build' (torch says: " +
               first_line(reason) + ")");
}

StringMap stored_entries(const std::string &path)
{
  try {
    const auto stored =
        torch::inductor::AOTIModelPackageLoader::load_metadata_from_package(path, "model");
    return StringMap(stored.begin(), stored.end());
  } catch (const std::exception &problem) {
    throw unreadable(path, problem.what());
  }
}

class AOTInductorModel : public Model {
 public:
  AOTInductorModel(const std::string &path, int workers, const Device &device)
  {
    device_ = device;
    const StringMap entries = stored_entries(path);
    metadata_ = parse_metadata(entries, path);
    check_processor(entries, path);
    try {
      const auto index = static_cast<c10::DeviceIndex>(device.index);
      whole_ = std::make_unique<Loader>(path, "model", false, workers, index);
      if (metadata_.has_energy_model)
        energy_ = std::make_unique<Loader>(path, "energy", false, workers, index);
    } catch (const std::exception &problem) {
      throw unreadable(path, problem.what());
    }
  }

  void evaluate(Block &block, BlockResult &result) override
  {
    const StreamScope stream(device_);
    with_failures(device_, [&] {
      const auto outputs = run(*whole_, block, result);
      read_results(outputs.at(0), outputs.at(1), block, result);
    });
  }

  void evaluate_energy(Block &block, BlockResult &result) override
  {
    const StreamScope stream(device_);
    with_failures(device_, [&] {
      read_energy(run(energy_ ? *energy_ : *whole_, block, result).at(0), block, result);
    });
  }

  void evaluate_view(const BlockView &block, BlockViewResult &result) override
  {
    const StreamScope stream(device_);
    with_failures(device_, [&] {
      const auto outputs = forward(*whole_, viewed(block, device_));
      keep_result(outputs.at(0), outputs.at(1), block, result);
    });
  }

  void evaluate_view_energy(const BlockView &block, BlockViewResult &result) override
  {
    const StreamScope stream(device_);
    with_failures(device_, [&] {
      const auto outputs = forward(energy_ ? *energy_ : *whole_, viewed(block, device_));
      keep_energy(outputs.at(0), block, result);
    });
  }

 private:
  using Loader = torch::inductor::AOTIModelPackageLoader;

  std::vector<at::Tensor> forward(Loader &loader, const ModelInputs &tensors) const
  {
    return loader.run({tensors.pos, tensors.edge_index, tensors.atom_types, tensors.edge_vectors},
                      device_.stream);
  }

  std::vector<at::Tensor> run(Loader &loader, Block &block, BlockResult &result) const
  {
    const ModelInputs tensors = inputs_of(block, device_);
    const Stopwatch stopwatch;
    auto outputs = forward(loader, tensors);
    result.model_seconds = stopwatch.seconds();
    return outputs;
  }

  std::unique_ptr<Loader> whole_, energy_;
};

}    // namespace

std::string device_of_aotinductor(const std::string &path)
{
  return parse_metadata(stored_entries(path), path).device;
}

std::unique_ptr<Model> load_aotinductor(const std::string &path, int workers, const Device &device)
{
  return std::make_unique<AOTInductorModel>(path, workers, device);
}

}    // namespace legato
