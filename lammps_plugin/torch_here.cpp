// SPDX-License-Identifier: MIT
#include "torch_here.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdio>
#include <cstring>

namespace legato {

std::string torch_version(const std::string &folder)
{
  std::FILE *file = std::fopen((folder + "/version.py").c_str(), "r");
  if (!file) return "";
  const char key[] = "__version__ = '";
  std::string version;
  for (char line[1024]; version.empty() && std::fgets(line, sizeof(line), file);)
    if (std::strncmp(line, key, sizeof(key) - 1) == 0)
      version = std::string(line + sizeof(key) - 1, std::strcspn(line + sizeof(key) - 1, "'"));
  std::fclose(file);
  return version;
}

std::string loaded_torch()
{
  void *library = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD);
  if (!library) return "";
  link_map *map = nullptr;
  std::string path;
  if (dlinfo(library, RTLD_DI_LINKMAP, &map) == 0) path = map->l_name;    // .../lib/libtorch_cpu.so
  dlclose(library);
  const auto folder = path.rfind("/lib/");
  return folder == std::string::npos ? "" : path.substr(0, folder);
}

}    // namespace legato
