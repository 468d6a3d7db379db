// SPDX-License-Identifier: MIT
#include "versions.h"

#include <ATen/Parallel.h>

#include <dlfcn.h>

#include <fstream>

namespace legato {

std::string installed_torch_version()
{
  // Any symbol of libtorch_cpu tells where that library lies: torch/lib/libtorch_cpu.so.
  Dl_info info;
  if (!dladdr(reinterpret_cast<void *>(&at::get_num_threads), &info) || !info.dli_fname) return "";
  const std::string library = info.dli_fname;
  const auto folder = library.rfind("/lib/");
  if (folder == std::string::npos) return "";
  std::ifstream file(library.substr(0, folder) + "/version.py");
  const std::string key = "__version__ = '";
  for (std::string line; std::getline(file, line);)
    if (line.compare(0, key.size(), key) == 0)
      return line.substr(key.size(), line.find('\'', key.size()) - key.size());
  return "";
}

}    // namespace legato
