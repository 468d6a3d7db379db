/* ----------------------------------------------------------------------
   nequip-legato: what the dynamic linker says, in words that help.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "load_failure.h"

#include "built_for.h"
#include "host.h"

#include <cxxabi.h>

#include <cstdlib>

namespace {

bool has(const std::string &text, const char *part)
{
  return text.find(part) != std::string::npos;
}

// The word after a key, up to white space, a comma, a colon or a parenthesis.
std::string word_after(const std::string &text, const char *key)
{
  const auto at = text.find(key);
  if (at == std::string::npos) return "";
  const auto begin = at + std::string(key).size();
  return text.substr(begin, text.find_first_of(" \n,:()'`", begin) - begin);
}

std::string readable(const std::string &symbol)
{
  int status = 0;
  char *plain = abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status);
  std::string name = status == 0 ? plain : symbol;
  std::free(plain);
  const std::string string =
      "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >";
  for (auto at = name.find(string); at != std::string::npos; at = name.find(string))
    name.replace(at, string.size(), "std::string");
  return name;
}

std::string compilers()
{
  const std::string host = legato::host_compiler();
  return "the plugin was compiled by " + legato::built_compiler() + ", this LAMMPS by " +
         (host.empty() ? "an unknown compiler" : host);
}

const char *const kSameCompiler =
    "; build the plugin for this LAMMPS with the compiler of LAMMPS: set CXX to it, then '";

std::string undefined_symbol(const std::string &symbol, const std::string &rebuild)
{
  const std::string name = readable(symbol);
  std::string cause = "it needs " + name;
  if (has(name, "LAMMPS_NS::") || has(name, "fmt::"))
    return cause +
           ", which this LAMMPS does not have, because it was made by another compiler or for "
           "another C++ standard (" +
           compilers() + ")" + kSameCompiler + rebuild + "'";
  if (has(name, "c10::") || has(name, "at::") || has(name, "torch::") || has(name, "caffe2::"))
    return cause +
           ", which the torch at hand does not have (the plugin was built for "
           "torch " LEGATO_TORCH_VERSION " in " LEGATO_TORCH_DIR
           "); see that LD_LIBRARY_PATH and LD_PRELOAD name no other torch, and build the "
           "plugin again with '" +
           rebuild + "'";
  if (has(name, "Kokkos::") || has(name, "desul::"))
    return cause +
           ", which the Kokkos of this LAMMPS does not have (the plugin was built for "
           "Kokkos " LEGATO_KOKKOS_TEXT "); build it for this LAMMPS with '" +
           rebuild + "', see docs/kokkos.md";
  if (has(name, "MPI_") || has(name, "mpi_"))
    return cause +
           ", which the MPI of this LAMMPS does not have; build the plugin for this LAMMPS "
           "with '" +
           rebuild + "'";
  if (name.compare(0, 2, "cu") == 0 || name.compare(0, 3, "hip") == 0)
    return cause + " of the GPU's driver or libraries, which LAMMPS has not loaded; see with "
                   "nvidia-smi or rocm-smi that the driver is there, and build LAMMPS so that it "
                   "names them, see docs/kokkos.md";
  return cause + ", which nothing here has (" + compilers() + ")" + kSameCompiler + rebuild + "'";
}

}    // namespace

std::string legato::load_failure(const std::string &said, const std::string &rebuild)
{
  std::string line = said;
  for (char &c : line)
    if (c == '\n' || c == '\r') c = ' ';

  const std::string symbol = word_after(line, "undefined symbol: ");
  if (!symbol.empty()) return undefined_symbol(symbol, rebuild);

  const std::string version = word_after(line, "version `");
  if (!version.empty() && has(line, "not found"))
    return "it needs " + version + " of " + word_after(line, "") +
           ", which is older here than where the plugin was compiled (" + compilers() +
           "); load the module of that compiler, or build the plugin here with '" + rebuild + "'";

  if (has(line, "cannot open shared object file")) {
    const std::string library = word_after(line, "");
    std::string remedy =
        "; put its folder into LD_LIBRARY_PATH, or build the plugin again with '" + rebuild + "'";
    if (has(library, "torch") || has(library, "c10"))
      remedy = " (the plugin was built for torch " LEGATO_TORCH_VERSION " in " LEGATO_TORCH_DIR
               "); install torch again, or build the plugin again with '" +
               rebuild + "'";
    return "it needs " + library + ", which is not found" + remedy;
  }
  return line + "; build the plugin again with '" + rebuild + "'";
}
