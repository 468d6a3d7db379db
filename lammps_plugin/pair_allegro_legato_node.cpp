/* ----------------------------------------------------------------------
   nequip-legato: one unpacked copy of a model for the ranks of a node.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "pair_allegro_legato_node.h"

#include "core/package_files.h"

#include <exception>

namespace LAMMPS_NS {

#ifdef MPI_STUBS    // LAMMPS' stand-in for a single process

std::shared_ptr<legato::PackageFiles> files_for_node(MPI_Comm, const std::string &)
{
  return nullptr;
}

#else

namespace {

using Files = std::shared_ptr<legato::PackageFiles>;

template <class Get> Files or_null(const Get &get)
{
  try {
    return get();
  } catch (const std::exception &) {
    return nullptr;
  }
}

Files files_for_ranks(MPI_Comm node, const std::string &path)
{
  int rank = 0, size = 1;
  MPI_Comm_rank(node, &rank);
  MPI_Comm_size(node, &size);
  if (size == 1) return nullptr;

  Files files;
  if (rank == 0) files = or_null([&path] { return legato::PackageFiles::unpack(path); });
  std::string where = files ? files->where() : "";
  int length = static_cast<int>(where.size());
  MPI_Bcast(&length, 1, MPI_INT, 0, node);
  where.resize(length);
  MPI_Bcast(where.data(), length, MPI_CHAR, 0, node);
  if (rank != 0 && length > 0)
    files = or_null([&where] { return legato::PackageFiles::of_another_process(where); });
  MPI_Barrier(node);    // before the first one goes on, and may be done with its files
  return files;
}

}    // namespace

std::shared_ptr<legato::PackageFiles> files_for_node(MPI_Comm world, const std::string &path)
{
  const std::string end = ".nequip.pt2";
  if (path.size() < end.size() || path.compare(path.size() - end.size(), end.size(), end) != 0)
    return nullptr;
  MPI_Comm node;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  Files files = files_for_ranks(node, path);
  MPI_Comm_free(&node);
  return files;
}

#endif

}    // namespace LAMMPS_NS
