// SPDX-License-Identifier: MIT
#include "edges.h"

#include <limits>

namespace legato {

Closeness gather_block(const System &system, const Metadata &metadata, int begin, int end,
                       Block &block)
{
  const int num_types = metadata.num_types();
  std::vector<double> cutoff_squared(metadata.edge_cutoffs);
  for (auto &value : cutoff_squared) value *= value;
  // An infinite shortest distance (pair never seen in training) makes no statement: ratio inf.
  std::vector<double> inverse_shortest_squared(metadata.shortest_distance);
  for (auto &value : inverse_shortest_squared)
    value = value < std::numeric_limits<double>::infinity()
                ? 1.0 / (value * value)
                : std::numeric_limits<double>::infinity();

  block.atoms.clear();
  block.atom_types.clear();
  for (int c = begin; c < end; ++c) {
    const int i = system.centres[c];
    const int type = system.model_type(i);
    if (type < 0) continue;
    block.atoms.push_back(i);
    block.atom_types.push_back(type);
  }
  block.n_centres = static_cast<std::int64_t>(block.atoms.size());
  for (int type = 0; type < num_types; ++type) block.atom_types.push_back(type);

  Closeness closeness;
  closeness.smallest_ratio_squared = std::numeric_limits<double>::infinity();
  block.neighbours.clear();
  block.edge_vectors.clear();
  std::vector<std::int64_t> &index = block.edge_index;
  index.clear();
  std::vector<std::int64_t> neighbour_nodes;
  for (std::int64_t centre = 0; centre < block.n_centres; ++centre) {
    const int i = block.atoms[centre];
    const double *xi = system.positions + 3 * static_cast<std::size_t>(i);
    const auto row = block.atom_types[centre] * num_types;
    bool outside = false;
    for (int k = 0; k < system.n_neighbours[i]; ++k) {
      const int j = system.neighbours[i][k] & system.neighbour_mask;
      const int type = system.model_type(j);
      if (type < 0) continue;
      const double *xj = system.positions + 3 * static_cast<std::size_t>(j);
      const double dx = xj[0] - xi[0], dy = xj[1] - xi[1], dz = xj[2] - xi[2];
      const double r2 = dx * dx + dy * dy + dz * dz;
      if (r2 >= cutoff_squared[row + type]) continue;
      index.push_back(centre);
      neighbour_nodes.push_back(block.n_centres + type);
      block.edge_vectors.insert(block.edge_vectors.end(), {dx, dy, dz});
      block.neighbours.push_back(j);
      const double ratio = r2 * inverse_shortest_squared[row + type];
      if (ratio < closeness.smallest_ratio_squared) closeness.smallest_ratio_squared = ratio;
      outside = outside || ratio < 1.0;
    }
    if (outside) ++closeness.n_outside;
  }

  block.n_real_edges = static_cast<std::int64_t>(block.neighbours.size());
  for (block.n_edges = block.n_real_edges; block.n_edges < kMinEdges; ++block.n_edges) {
    index.push_back(block.n_centres);
    neighbour_nodes.push_back(block.n_centres);
    block.edge_vectors.insert(block.edge_vectors.end(), {0.5 * metadata.cutoff, 0.0, 0.0});
  }
  index.insert(index.end(), neighbour_nodes.begin(), neighbour_nodes.end());
  return closeness;
}

}    // namespace legato
