/* ----------------------------------------------------------------------
   nequip-legato: the LAMMPS that loaded the plugin, through its C interface.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "host.h"

#include "lammps.h"

#include <dlfcn.h>
#include <mpi.h>

// Null where LAMMPS has no MPI, or where its MPI cannot be seen.
#ifndef MPI_STUBS
#pragma weak MPI_Allreduce
#pragma weak MPI_Bcast
#pragma weak MPI_Comm_f2c
#pragma weak MPI_Comm_rank
#pragma weak MPI_Comm_size
#pragma weak ompi_mpi_char
#pragma weak ompi_mpi_int
#pragma weak ompi_mpi_op_min
#pragma weak ompi_mpi_op_sum
#endif

namespace {

void *host = RTLD_DEFAULT;

// A C function of LAMMPS or of what it is linked to; null if there is none.
template <class Function> Function *in_host(const char *name)
{
  return reinterpret_cast<Function *>(dlsym(host, name));
}

// The error that LAMMPS' own styles would raise: printed once, then an exception, which a Python
// session survives. lammps_error of the C interface would end the process instead. Called by its
// mangled name because the class Error has other members with another compiler.
[[noreturn]] void stop(void *lmp, const std::string &message)
{
#if _GLIBCXX_USE_CXX11_ABI
#define LEGATO_STRING "RKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
  LAMMPS_NS::Error *error = static_cast<LAMMPS_NS::LAMMPS *>(lmp)->error;
  typedef void All(LAMMPS_NS::Error *, const std::string &, int, int, const std::string &);
  typedef void OlderAll(LAMMPS_NS::Error *, const std::string &, int, const std::string &);
  constexpr int kNoPointer = -2;    // Error::NOPOINTER: the input line is shown
  if (All *all = in_host<All>("_ZN9LAMMPS_NS5Error3allE" LEGATO_STRING "iiS8_"))
    all(error, "nequip-legato", 0, kNoPointer, message);
  if (OlderAll *all = in_host<OlderAll>("_ZN9LAMMPS_NS5Error3allE" LEGATO_STRING "iS8_"))
    all(error, "nequip-legato", 0, message);
#endif
  constexpr int kErrorAll = 2;
  if (auto *error = in_host<void(void *, int, const char *)>("lammps_error"))
    error(lmp, kErrorAll, message.c_str());
  __builtin_trap();    // not reached: lammps_error is as old as plugins, and does not return
}

}    // namespace

void legato::remember_host(void *function)
{
  Dl_info info;
  if (dlsym(RTLD_DEFAULT, "lammps_version") || !dladdr(function, &info) || !info.dli_fname) return;
  // A program that opened LAMMPS for itself alone: our styles need its symbols.
  if (void *library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_GLOBAL)) host = library;
}

int legato::host_version(void *lmp)
{
  auto *version = in_host<int(void *)>("lammps_version");
  return version ? version(lmp) : 0;
}

std::string legato::host_mpi()
{
  auto *has_mpi = in_host<int()>("lammps_config_has_mpi_support");
  if (has_mpi && !has_mpi()) return "no MPI";
  auto *describe = in_host<int(char *, int *)>("MPI_Get_library_version");
  if (!describe) return "";
  char text[16384];    // more than MPI_MAX_LIBRARY_VERSION_STRING of any MPI
  int length = 0;
  describe(text, &length);
  return std::string(text, length).find("Open MPI") == std::string::npos ? "MPICH" : "Open MPI";
}

std::string legato::built_mpi()
{
#if defined(MPI_STUBS)
  return "no MPI";
#elif defined(OPEN_MPI)
  return "Open MPI";
#elif defined(MPICH_VERSION) || defined(I_MPI_VERSION)
  return "MPICH";
#else
  return "";
#endif
}

std::string legato::built_compiler()
{
#if defined(__clang__)
  return "Clang C++ " __VERSION__;
#elif defined(__GNUC__)
  return "GNU C++ " __VERSION__;
#else
  return "";
#endif
}

std::string legato::host_compiler()
{
  auto *describe = in_host<void(char *, int)>("lammps_get_os_info");
  if (!describe) return "";
  char text[4096];
  describe(text, sizeof(text));
  std::string last = text;    // the operating system, then "GNU C++ 12.2.0 with OpenMP 4.5"
  while (!last.empty() && last.back() == '\n') last.pop_back();
  const auto line = last.rfind('\n');
  if (line != std::string::npos) last.erase(0, line + 1);
  const auto end = last.find(" with ");
  if (end != std::string::npos) last.erase(end);
  return last;
}

void legato::stop_if_any_failed(void *lmp, std::string message)
{
  auto *setting = in_host<int(void *, const char *)>("lammps_extract_setting");
  const int ranks = setting ? setting(lmp, "world_size") : 1;
#ifndef MPI_STUBS
  auto *world_of = in_host<int(void *)>("lammps_get_mpi_comm");
  // The constants of mpi.h differ between MPIs. All ranks come to the same answer here.
  const bool can_talk = world_of && &MPI_Allreduce && &MPI_Bcast && built_mpi() == host_mpi();
  if (ranks > 1 && can_talk) {
    MPI_Comm world = MPI_Comm_f2c(world_of(lmp));
    int me = 0, first = 0;
    MPI_Comm_rank(world, &me);
    int mine = message.empty() ? ranks : me;
    MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, world);
    if (first == ranks) return;
    int failed = !message.empty(), failures = 0;
    MPI_Allreduce(&failed, &failures, 1, MPI_INT, MPI_SUM, world);
    int length = static_cast<int>(message.size());
    MPI_Bcast(&length, 1, MPI_INT, first, world);
    message.resize(length);
    MPI_Bcast(&message[0], length, MPI_CHAR, first, world);
    if (failures < ranks)
      message += " (on " + std::to_string(failures) + " of " + std::to_string(ranks) +
                 " MPI ranks, first on rank " + std::to_string(first) + ")";
  }
#endif
  if (!message.empty()) stop(lmp, message);
}
