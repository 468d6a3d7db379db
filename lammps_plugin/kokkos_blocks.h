/* -*- c++ -*- ----------------------------------------------------------
   nequip-legato: Kokkos kernels between LAMMPS' arrays and the blocks of core/block_view.h.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

// Edges are made in three passes over the neighbor lists: count, scan, fill. Nothing of the size
// of the neighbor lists is kept: the counts of all centers, and the edges of the blocks at work.
// Kernels are named types, not lambdas: nvcc takes no lambda in a protected member function.
#ifndef LMP_LEGATO_KOKKOS_BLOCKS_H
#define LMP_LEGATO_KOKKOS_BLOCKS_H

#include "kokkos_types.h"

#include "core/fence.h"
#include "core/virials.h"

#include <cstdint>

namespace LAMMPS_NS {
namespace LegatoKernels {

using bigcount = std::int64_t;

// What the kernels add up besides arrays.
struct Tally {
  double energy = 0.0;
  double virial[6] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};    // xx yy zz xy xz yz
  // of distance / shortest distance in training
  double smallest_squared = Kokkos::Experimental::infinity_v<double>;
  double largest_squared = 0.0;    // of |dE/d(edge vector)|
  bigcount n_outside = 0;          // centers with a neighbor closer than any in training
  bigcount n_fenced = 0;           // edges on which the model's fence acts
  double fence_energy = 0.0;       // of them, eV

  KOKKOS_INLINE_FUNCTION void add(const Tally &other)
  {
    energy += other.energy;
    for (int k = 0; k < 6; ++k) virial[k] += other.virial[k];
    if (other.smallest_squared < smallest_squared) smallest_squared = other.smallest_squared;
    largest_squared = legato::larger_or_nan(largest_squared, other.largest_squared);
    n_outside += other.n_outside;
    n_fenced += other.n_fenced;
    fence_energy += other.fence_energy;
  }
};

struct TallyReduction {
  using value_type = Tally;
  KOKKOS_INLINE_FUNCTION void init(Tally &tally) const { tally = Tally(); }
  KOKKOS_INLINE_FUNCTION void join(Tally &tally, const Tally &other) const { tally.add(other); }
};

// LAMMPS' atoms and neighbor lists, and what the model makes of them.
template <class DeviceType> struct Surroundings {
  using Names = LegatoKokkosTypes<DeviceType>;

  typename Names::Positions x;
  typename Names::Types type;
  typename Names::Masks mask;    // group bits
  typename Names::Neighbors neighbors;
  typename Names::Integers n_neighbors;
  Kokkos::View<int *, DeviceType> model_type_of;        // by LAMMPS type; -1: not the model's
  Kokkos::View<double *, DeviceType> cutoff_squared;    // (num_types, num_types), row-major
  Kokkos::View<double *, DeviceType> inverse_shortest_squared;    // the same, 1/A^2 or infinity
  int num_types = 0;
  Kokkos::View<double *, DeviceType> fence_table;    // (num_types^2, fence_columns), row-major
  int fence_columns = 0;
  int absent_bits = 0;    // of the groups whose atoms the model must not see

  // -1 for an atom that the model does not see.
  KOKKOS_INLINE_FUNCTION int model_type(const int i) const
  {
    return absent_bits && (mask(i) & absent_bits) ? -1 : model_type_of(type(i));
  }

  // Calls found(j, model type of j, dx, dy, dz, distance^2, row of the pair) for each edge of i.
  template <class Function>
  KOKKOS_INLINE_FUNCTION void each_edge(const int i, const Function &found) const
  {
    const int row = model_type(i) * num_types;
    const double x0 = x(i, 0), x1 = x(i, 1), x2 = x(i, 2);
    const int n = n_neighbors(i);
    for (int k = 0; k < n; ++k) {
      const int j = neighbors(i, k) & NEIGHMASK;
      const int jtype = model_type(j);
      if (jtype < 0) continue;
      const double dx = x(j, 0) - x0, dy = x(j, 1) - x1, dz = x(j, 2) - x2;
      const double r2 = dx * dx + dy * dy + dz * dz;
      // Positions that are not finite stay, and show.
      if (!(r2 >= cutoff_squared(row + jtype))) found(j, jtype, dx, dy, dz, r2, row + jtype);
    }
  }
};

// Scan: the atoms of the list that the model knows, in order.
template <class DeviceType> struct FindCenters {
  using value_type = int;
  Surroundings<DeviceType> around;
  typename LegatoKokkosTypes<DeviceType>::Integers list;
  Kokkos::View<int *, DeviceType> centers;

  KOKKOS_INLINE_FUNCTION void operator()(const int k, int &n, const bool final) const
  {
    const int i = list(k);
    if (around.model_type(i) < 0) return;
    if (final) centers(n) = i;
    ++n;
  }
};

// Sum: the atoms that the model sees.
template <class DeviceType> struct CountAtoms {
  using value_type = int;
  Surroundings<DeviceType> around;

  KOKKOS_INLINE_FUNCTION void operator()(const int i, int &n) const
  {
    if (around.model_type(i) >= 0) ++n;
  }
};

// first_edge(c + 1) = number of edges of center c
template <class DeviceType> struct CountEdges {
  Surroundings<DeviceType> around;
  Kokkos::View<int *, DeviceType> centers;
  Kokkos::View<bigcount *, DeviceType> first_edge;

  KOKKOS_INLINE_FUNCTION void operator()(const int c) const
  {
    bigcount n = 0;
    around.each_edge(centers(c), [&n](int, int, double, double, double, double, int) { ++n; });
    first_edge(c + 1) = n;
  }
};

// Scan: first_edge(c) = number of edges of all centers before c
template <class DeviceType> struct SumEdges {
  using value_type = bigcount;
  Kokkos::View<bigcount *, DeviceType> first_edge;

  KOKKOS_INLINE_FUNCTION void operator()(const int c, bigcount &sum, const bool final) const
  {
    sum += first_edge(c + 1);
    if (final) first_edge(c + 1) = sum;
  }
};

// Where a block lies in the arrays that all blocks at work share.
struct Place {
  int first_center = 0, n_centers = 0;
  bigcount n_real_edges = 0, n_edges = 0;    // without and with padding
  bigcount node = 0, edge = 0;               // its first node and its first edge
};

template <class DeviceType> struct BlockArrays {
  Kokkos::View<bigcount *, DeviceType> atom_types;    // by node
  Kokkos::View<bigcount *, DeviceType> edge_index;    // 2 by edge; within a block (2, n_edges)
  Kokkos::View<double *, DeviceType> edge_vectors;    // 3 by edge
  Kokkos::View<int *, DeviceType> neighbors;          // by edge: index of the neighboring atom
};

// Runs over the centers of a block and then over its type nodes.
template <class DeviceType> struct FillBlock : TallyReduction {
  Surroundings<DeviceType> around;
  Kokkos::View<int *, DeviceType> centers;
  Kokkos::View<bigcount *, DeviceType> first_edge;
  BlockArrays<DeviceType> block;
  Place place;
  double padding_distance = 0.0;

  KOKKOS_INLINE_FUNCTION void set_edge(const bigcount edge, const bigcount center,
                                       const bigcount neighbor, const double dx, const double dy,
                                       const double dz) const
  {
    block.edge_index(2 * place.edge + edge) = center;
    block.edge_index(2 * place.edge + place.n_edges + edge) = neighbor;
    block.edge_vectors(3 * (place.edge + edge)) = dx;
    block.edge_vectors(3 * (place.edge + edge) + 1) = dy;
    block.edge_vectors(3 * (place.edge + edge) + 2) = dz;
  }

  KOKKOS_INLINE_FUNCTION void operator()(const int k, Tally &tally) const
  {
    if (k >= place.n_centers) {
      block.atom_types(place.node + k) = k - place.n_centers;
      // Edges between type nodes, whose energies nobody reads; see gather_block in core/edges.h.
      if (k == place.n_centers)
        for (bigcount edge = place.n_real_edges; edge < place.n_edges; ++edge)
          set_edge(edge, place.n_centers, place.n_centers, padding_distance, 0.0, 0.0);
      return;
    }
    const int i = centers(place.first_center + k);
    block.atom_types(place.node + k) = around.model_type(i);
    bigcount edge = first_edge(place.first_center + k) - first_edge(place.first_center);
    double smallest = tally.smallest_squared;
    bool outside = false;
    around.each_edge(i, [&](int j, int jtype, double dx, double dy, double dz, double r2, int row) {
      set_edge(edge, k, place.n_centers + jtype, dx, dy, dz);
      block.neighbors(place.edge + edge) = j;
      ++edge;
      const double ratio = r2 * around.inverse_shortest_squared(row);
      if (ratio < smallest) smallest = ratio;
      outside = outside || ratio < 1.0;
      if (around.fence_columns == 0) return;
      const double energy = legato::fence_energy(
          around.fence_table.data() + row * around.fence_columns, around.fence_columns, r2);
      if (energy > 0.0) ++tally.n_fenced;
      tally.fence_energy += energy;
    });
    tally.smallest_squared = smallest;
    if (outside) ++tally.n_outside;
  }
};

template <class View>
using Scatter = decltype(Kokkos::Experimental::create_scatter_view(std::declval<View &>()));

template <class DeviceType> struct PerAtom {
  Kokkos::View<double *, DeviceType> energy;
  Kokkos::View<double *[6], Kokkos::LayoutRight, DeviceType> virial;
  Kokkos::View<double *[9], Kokkos::LayoutRight, DeviceType> centroid;
};

// Adds the model's results to forces, per-atom arrays and sums; see Engine::compute in
// core/engine.h for what belongs to whom. Runs over the centers of a block.
template <class DeviceType> struct ScatterBlock : TallyReduction {
  using Forces = typename LegatoKokkosTypes<DeviceType>::Forces;

  Kokkos::View<int *, DeviceType> centers;
  Kokkos::View<bigcount *, DeviceType> first_edge;
  BlockArrays<DeviceType> block;
  Place place;
  // on the device; without edge forces, energies alone
  const double *atomic_energy = nullptr, *edge_forces = nullptr;
  double unit = 1.0;
  bool with_virial = false;

  PerAtom<DeviceType> per_atom;    // of zero size where not wanted
  Scatter<Forces> forces;
  Scatter<decltype(PerAtom<DeviceType>::virial)> virials;
  Scatter<decltype(PerAtom<DeviceType>::centroid)> centroids;

  KOKKOS_INLINE_FUNCTION void operator()(const int k, Tally &tally) const
  {
    const int c = place.first_center + k;
    const int i = centers(c);
    const double energy = unit * atomic_energy[k];
    tally.energy += energy;
    if (per_atom.energy.extent(0)) per_atom.energy(i) += energy;
    if (!edge_forces) return;

    const auto f = forces.access();
    const auto v = virials.access();
    const auto w = centroids.access();
    const bool with_atomic = per_atom.virial.extent(0), with_centroid = per_atom.centroid.extent(0);
    const bigcount begin = first_edge(c) - first_edge(place.first_center);
    const bigcount end = first_edge(c + 1) - first_edge(place.first_center);
    double own_force[3] = {0.0, 0.0, 0.0};
    double own_virial[6] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
    for (bigcount edge = begin; edge < end; ++edge) {
      const int j = block.neighbors(place.edge + edge);
      double t[3], r[3];
      for (int a = 0; a < 3; ++a) {
        t[a] = unit * edge_forces[3 * edge + a];
        r[a] = block.edge_vectors(3 * (place.edge + edge) + a);
        own_force[a] += t[a];
        f(j, a) -= t[a];
      }
      tally.largest_squared =
          legato::larger_or_nan(tally.largest_squared, t[0] * t[0] + t[1] * t[1] + t[2] * t[2]);
      if (!with_virial) continue;
      for (int a = 0; a < 6; ++a) {
        const double part = -r[legato::virial_row(a)] * t[legato::virial_column(a)];
        own_virial[a] += part;
        if (with_atomic) v(j, a) += 0.5 * part;
      }
      if (with_centroid)
        for (int a = 0; a < 9; ++a)
          w(j, a) -= r[legato::virial_row(a)] * t[legato::virial_column(a)];
    }
    for (int a = 0; a < 3; ++a) f(i, a) += own_force[a];
    for (int a = 0; a < 6; ++a) tally.virial[a] += own_virial[a];
    if (with_atomic)
      for (int a = 0; a < 6; ++a) v(i, a) += 0.5 * own_virial[a];
  }
};

}    // namespace LegatoKernels
}    // namespace LAMMPS_NS

#endif
