// SPDX-License-Identifier: MIT
#include "error.h"
#include "failures.h"
#include "model_formats.h"
#include "package.h"
#include "package_files.h"
#include "stopwatch.h"
#include "tensors.h"
#include "unpacked.h"
#include "words.h"

#include <torch/csrc/inductor/aoti_runner/model_container_runner.h>

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
  for (const std::string &set : words(stored("AOTI_CPU_ISA")))
    if (!has_instructions(set))
      throw Error("model file '" + path + "' was compiled for processors with " + set +
                  " instructions, which this one lacks" + remedy);
}

// What `read` returns; any exception becomes an error that names the file.
template <class Read> auto readable(const std::string &path, const Read &read)
{
  try {
    return read();
  } catch (const Error &) {
    throw;
  } catch (const std::exception &problem) {
    throw_load_failure(path, "it is damaged, incomplete, or compiled for another machine or torch",
                       problem);
  }
}

using Runner = torch::inductor::AOTIModelContainerRunner;

// One compiled model. Its files must be there as long as it is.
struct Compiled {
  std::unique_ptr<Unpacked> files;
  std::unique_ptr<Runner> runner;
};

Compiled compiled_from(std::unique_ptr<Unpacked> files, int workers, const Device &device)
{
  const auto &makers = torch::inductor::getAOTIModelRunnerRegistry();
  const auto maker = makers.find(device.kind);
  if (maker == makers.end())
    throw std::runtime_error("this torch cannot run AOTInductor models on " + device.kind);
  const std::string name =
      device.is_cpu() ? device.kind : device.kind + ":" + std::to_string(device.index);
  Compiled compiled;
  compiled.runner = maker->second(files->library(), workers, name, files->folder(), false);
  files->loaded();
  compiled.files = std::move(files);
  return compiled;
}

// As torch's AOTIModelPackageLoader, which leaves its unpacked files behind unless the process ends
// in order.
Compiled load_compiled(Package &package, const std::string &model, int workers,
                       const Device &device, PackageFiles *unpacked)
{
  auto files = unpacked ? unpacked->take(model) : unpack_in_memory(package, model);
  if (files) try {
      return compiled_from(std::move(files), workers, device);
    } catch (const std::exception &) {
      // a system that forbids code in memory without a file; if not, the other way fails as well
    }
  return compiled_from(unpack_in_folder(package, model, !device.is_cpu()), workers, device);
}

class AOTInductorModel : public Model {
 public:
  AOTInductorModel(const std::string &path, int workers, const Device &device, PackageFiles *files)
  {
    device_ = device;
    readable(path, [&] {
      Package package(path);
      const StringMap entries = package.metadata(kWholeModel);
      metadata_ = parse_metadata(entries, path);
      check_processor(entries, path);
      whole_ = load_compiled(package, kWholeModel, workers, device, files);
      if (metadata_.has_energy_model)
        energy_ = load_compiled(package, kEnergyModel, workers, device, files);
    });
  }

  void evaluate(Block &block, BlockResult &result) override
  {
    const StreamScope stream(device_);
    with_failures(device_, [&] {
      const auto outputs = run(whole_, block, result);
      read_results(outputs.at(0), outputs.at(1), block, result);
    });
  }

  void evaluate_energy(Block &block, BlockResult &result) override
  {
    const StreamScope stream(device_);
    with_failures(device_, [&] {
      read_energy(run(energy_.runner ? energy_ : whole_, block, result).at(0), block, result);
    });
  }

  void evaluate_view(const BlockView &block, BlockViewResult &result) override
  {
    const StreamScope stream(device_);
    with_failures(device_, [&] {
      const auto outputs = forward(whole_, viewed(block, device_));
      keep_result(outputs.at(0), outputs.at(1), block, result);
    });
  }

  void evaluate_view_energy(const BlockView &block, BlockViewResult &result) override
  {
    const StreamScope stream(device_);
    with_failures(device_, [&] {
      const auto outputs = forward(energy_.runner ? energy_ : whole_, viewed(block, device_));
      keep_energy(outputs.at(0), block, result);
    });
  }

 private:
  std::vector<at::Tensor> forward(const Compiled &model, const ModelInputs &tensors) const
  {
    return model.runner->run(
        {tensors.pos, tensors.edge_index, tensors.atom_types, tensors.edge_vectors},
        device_.stream);
  }

  std::vector<at::Tensor> run(const Compiled &model, Block &block, BlockResult &result) const
  {
    const ModelInputs tensors = inputs_of(block, device_);
    const Stopwatch stopwatch;
    auto outputs = forward(model, tensors);
    result.model_seconds = stopwatch.seconds();
    return outputs;
  }

  Compiled whole_, energy_;
};

}    // namespace

std::string device_of_aotinductor(const std::string &path)
{
  return readable(path,
                  [&] { return parse_metadata(Package(path).metadata(kWholeModel), path).device; });
}

std::unique_ptr<Model> load_aotinductor(const std::string &path, int workers, const Device &device,
                                        PackageFiles *files)
{
  return std::make_unique<AOTInductorModel>(path, workers, device, files);
}

}    // namespace legato
