// SPDX-License-Identifier: MIT
#include "edges.h"

#include "fence.h"

#include <algorithm>
#include <limits>

namespace legato {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The centers that the model knows, then one node per type.
void gather_nodes(const System &system, int num_types, int begin, int end, Block &block)
{
  block.atoms.make_room(end - begin);
  block.atom_types.make_room(end - begin + num_types);
  block.n_centers = 0;
  for (int c = begin; c < end; ++c) {
    const int i = system.centers[c];
    const int type = system.model_type(i);
    if (type < 0) continue;
    block.atoms[block.n_centers] = i;
    block.atom_types[block.n_centers++] = type;
  }
  block.n_nodes = block.n_centers;
  for (int type = 0; type < num_types; ++type) block.atom_types[block.n_nodes++] = type;
}

// Room for all candidates. Returns their number.
std::int64_t make_room_for_edges(const System &system, Block &block)
{
  std::int64_t n_candidates = 0;
  for (std::int64_t center = 0; center < block.n_centers; ++center)
    n_candidates += system.n_neighbors[block.atoms[center]];
  const auto room = std::max(n_candidates + 1, kMinEdges);    // one more is written to, see below
  block.edge_index.make_room(2 * room);
  block.edge_vectors.make_room(3 * room);
  block.neighbors.make_room(room);
  return room;
}

void tally_fence(const Block &block, const Metadata &metadata, Closeness &closeness)
{
  const int n_columns = metadata.fence_columns;
  if (n_columns == 0) return;
  const std::int64_t *centers = block.edge_index.data();
  const std::int64_t *nodes = centers + block.n_edges;
  for (std::int64_t edge = 0; edge < block.n_real_edges; ++edge) {
    const double *r = block.edge_vectors.data() + 3 * edge;
    const auto pair =
        block.atom_types[centers[edge]] * metadata.num_types() + block.atom_types[nodes[edge]];
    const double energy = fence_energy(metadata.fence_table.data() + pair * n_columns, n_columns,
                                       r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
    closeness.n_fenced += energy > 0.0;
    closeness.fence_energy += energy;
  }
}

}    // namespace

Closeness gather_block(const System &system, const Metadata &metadata, const PairLimits &limits,
                       int begin, int end, Block &block)
{
  const int num_types = metadata.num_types();
  gather_nodes(system, num_types, begin, end, block);
  const std::int64_t room = make_room_for_edges(system, block);

  std::int64_t *const centers = block.edge_index.data();
  std::int64_t *const nodes = centers + room;    // moved to behind the centers in the end
  double *const vectors = block.edge_vectors.data();
  int *const neighbors = block.neighbors.data();
  Closeness closeness;
  closeness.smallest_ratio_squared = kInfinity;
  std::int64_t n_edges = 0;
  for (std::int64_t center = 0; center < block.n_centers; ++center) {
    const int i = block.atoms[center];
    const double *xi = system.positions + 3 * static_cast<std::size_t>(i);
    const auto row = block.atom_types[center] * num_types;
    const double *cutoff_squared = limits.cutoff_squared.data() + row;
    const double *inverse_shortest_squared = limits.inverse_shortest_squared.data() + row;
    const std::int64_t first = n_edges;
    double smallest = kInfinity;
    for (int k = 0; k < system.n_neighbors[i]; ++k) {
      const int j = system.neighbors[i][k] & system.neighbor_mask;
      const int type = system.model_type(j);
      if (type < 0) continue;
      const double *xj = system.positions + 3 * static_cast<std::size_t>(j);
      const double dx = xj[0] - xi[0], dy = xj[1] - xi[1], dz = xj[2] - xi[2];
      const double r2 = dx * dx + dy * dy + dz * dz;
      // Every candidate is written down, and stays if the next one is written behind it: a branch
      // would be guessed wrong for every third. Positions that are not finite stay, and show.
      neighbors[n_edges] = j;
      nodes[n_edges] = block.n_centers + type;
      vectors[3 * n_edges] = dx;
      vectors[3 * n_edges + 1] = dy;
      vectors[3 * n_edges + 2] = dz;
      const bool is_edge = !(r2 >= cutoff_squared[type]);
      n_edges += is_edge;
      const double ratio = is_edge ? r2 * inverse_shortest_squared[type] : kInfinity;
      smallest = ratio < smallest ? ratio : smallest;
    }
    std::fill(centers + first, centers + n_edges, center);
    closeness.smallest_ratio_squared = std::min(closeness.smallest_ratio_squared, smallest);
    if (smallest < 1.0) ++closeness.n_outside;
  }

  block.n_real_edges = n_edges;
  for (; n_edges < kMinEdges; ++n_edges) {
    centers[n_edges] = nodes[n_edges] = block.n_centers;
    vectors[3 * n_edges] = 0.5 * metadata.cutoff;
    vectors[3 * n_edges + 1] = vectors[3 * n_edges + 2] = 0.0;
  }
  block.n_edges = n_edges;
  std::copy(nodes, nodes + n_edges, centers + n_edges);
  tally_fence(block, metadata, closeness);
  return closeness;
}

}    // namespace legato
