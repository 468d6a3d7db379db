// SPDX-License-Identifier: MIT
#include "model.h"

#include "error.h"
#include "model_formats.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <fstream>

namespace legato {

namespace {

std::atomic<int> initial_threads{0};

bool ends_with(const std::string &text, const std::string &suffix)
{
  return text.size() >= suffix.size() &&
         text.compare(text.size() - suffix.size(), suffix.size(), suffix) == 0;
}

// Both formats are zip archives. Looking at the first bytes gives a better message than torch's.
void check_readable(const std::string &path)
{
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {0, 0, 0, 0};
  if (!file) throw Error("cannot open model file '" + path + "'; check the path and permissions");
  file.read(magic, sizeof(magic));
  if (file.gcount() != 4 || magic[0] != 'P' || magic[1] != 'K')
    throw Error("'" + path +
                "' is not a deployed model (or an empty or damaged one); make one with "
                "'nequip-deploy build CHECKPOINT OUT.nequip.pth'");
}

std::string device_name(const std::string &kind)
{
  return kind == "cpu" ? "the CPU" : kind == "cuda" ? "a GPU" : "device '" + kind + "'";
}

// Throws Error for a file that is clearly not a deployed model.
bool is_torchscript(const std::string &path)
{
  const bool torchscript = ends_with(path, ".nequip.pth");
  if (!torchscript && !ends_with(path, ".nequip.pt2"))
    throw Error("model file '" + path +
                "' must end in .nequip.pth (TorchScript) or .nequip.pt2 (AOTInductor); make one "
                "with 'nequip-deploy build CHECKPOINT OUT.nequip.pth'");
  check_readable(path);
  return torchscript;
}

}    // namespace

std::string first_line(const std::string &message)
{
  return message.substr(0, message.find('\n'));
}

std::unique_ptr<Model> Model::load(const std::string &path, int workers, const Device &device,
                                   PackageFiles *files)
{
  const bool torchscript = is_torchscript(path);
  // Checked first: that the file is for another device tells more than that a device is missing.
  const std::string compiled_for = torchscript ? "" : device_of_aotinductor(path);
  if (!compiled_for.empty() && compiled_for != device.kind)
    throw Error("model file '" + path + "' was compiled for " + device_name(compiled_for) +
                ", but is to run on " + device_name(device.kind) +
                "; deploy it with 'nequip-deploy build --device " + device.kind +
                "', use TorchScript (.nequip.pth), which runs on both, or choose 'device " +
                compiled_for + "'");
  require_device(device);
  return torchscript ? load_torchscript(path, device)
                     : load_aotinductor(path, workers, device, files);
}

std::string Model::device_of(const std::string &path)
{
  return is_torchscript(path) ? "" : device_of_aotinductor(path);
}

void use_single_thread()
{
  const int threads = at::get_num_threads();    // first, for it may set the count itself
  int none = 0;
  initial_threads.compare_exchange_strong(none, threads);
  at::set_num_threads(1);
}

void restore_thread_count()
{
  at::get_num_threads();
  if (initial_threads > 0) at::set_num_threads(initial_threads);
}

}    // namespace legato
