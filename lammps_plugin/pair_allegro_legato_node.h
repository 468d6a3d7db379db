/* ----------------------------------------------------------------------
   nequip-legato: what the ranks of a node share.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

#ifndef LMP_PAIR_ALLEGRO_LEGATO_NODE_H
#define LMP_PAIR_ALLEGRO_LEGATO_NODE_H

#include <mpi.h>

#include <memory>
#include <string>

namespace legato {
struct NodeProcess;
class PackageFiles;
}

namespace LAMMPS_NS {

// The number of this rank among those of its node. All ranks of `world` must call it.
legato::NodeProcess process_on_node(MPI_Comm world);

// The files of a compiled model, which the first rank of each node unpacks for all of its ranks.
// Null where there is nothing to share: another format, a rank alone, or a file or process that
// cannot be read, of which the rank learns more when it loads the model by itself.
// All ranks of `world` must call it; it never throws.
std::shared_ptr<legato::PackageFiles> files_for_node(MPI_Comm world, const std::string &path);

}    // namespace LAMMPS_NS

#endif
