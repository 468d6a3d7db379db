/* ----------------------------------------------------------------------
   nequip-legato: what the ranks of a node share.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#include "pair_allegro_legato_node.h"

#include "core/device.h"
#include "core/package_files.h"

#include <exception>

namespace LAMMPS_NS {

#ifdef MPI_STUBS    // LAMMPS' stand-in for a single process

legato::NodeProcess process_on_node(MPI_Comm)
{
  return {};
}

std::shared_ptr<legato::PackageFiles> files_for_node(MPI_Comm, const std::string &)
{
  return nullptr;
}

#else

namespace {

// The ranks of `world` on this node.
struct Node {
  MPI_Comm comm;
  legato::NodeProcess me;

  explicit Node(MPI_Comm world)
  {
    MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &comm);
    MPI_Comm_rank(comm, &me.number);
    MPI_Comm_size(comm, &me.count);
  }
  ~Node() { MPI_Comm_free(&comm); }
  Node(const Node &) = delete;
  Node &operator=(const Node &) = delete;
};

using Files = std::shared_ptr<legato::PackageFiles>;

template <class Get> Files or_null(const Get &get)
{
  try {
    return get();
  } catch (const std::exception &) {
    return nullptr;
  }
}

}    // namespace

legato::NodeProcess process_on_node(MPI_Comm world)
{
  return Node(world).me;
}

std::shared_ptr<legato::PackageFiles> files_for_node(MPI_Comm world, const std::string &path)
{
  const std::string end = ".nequip.pt2";
  if (path.size() < end.size() || path.compare(path.size() - end.size(), end.size(), end) != 0)
    return nullptr;
  const Node node(world);
  if (node.me.count == 1) return nullptr;

  const bool first = node.me.number == 0;
  Files files;
  if (first) files = or_null([&path] { return legato::PackageFiles::unpack(path); });
  std::string where = files ? files->where() : "";
  int length = static_cast<int>(where.size());
  MPI_Bcast(&length, 1, MPI_INT, 0, node.comm);
  where.resize(length);
  MPI_Bcast(where.data(), length, MPI_CHAR, 0, node.comm);
  if (!first && length > 0)
    files = or_null([&where] { return legato::PackageFiles::of_another_process(where); });
  MPI_Barrier(node.comm);    // before the first one goes on, and may be done with its files
  return files;
}

#endif

}    // namespace LAMMPS_NS
