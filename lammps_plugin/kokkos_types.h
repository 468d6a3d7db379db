/* -*- c++ -*- ----------------------------------------------------------
   nequip-legato: names of LAMMPS' Kokkos types.
   SPDX-License-Identifier: GPL-2.0-only
------------------------------------------------------------------------- */

// LAMMPS renamed them between 22 Jul 2025 (t_x_array, X_FLOAT, F_FLOAT...) and 10 Sep 2025
// (t_kkfloat_1d_3_lr, KK_FLOAT, KK_ACC_FLOAT...) and wrapped some in TransformView. What the style
// needs is named here by the members that hold it, whose names stayed; it fits every release.
#ifndef LMP_LEGATO_KOKKOS_TYPES_H
#define LMP_LEGATO_KOKKOS_TYPES_H

#include "atom_kokkos.h"
#include "kokkos_type.h"
#include "neigh_list_kokkos.h"

#include <type_traits>
#include <utility>

namespace LAMMPS_NS {

template <class DeviceType> struct LegatoKokkosTypes {
  using Positions =
      std::decay_t<decltype(std::declval<AtomKokkos &>().k_x.template view<DeviceType>())>;
  using Forces =
      std::decay_t<decltype(std::declval<AtomKokkos &>().k_f.template view<DeviceType>())>;
  using Types =
      std::decay_t<decltype(std::declval<AtomKokkos &>().k_type.template view<DeviceType>())>;
  using Masks =
      std::decay_t<decltype(std::declval<AtomKokkos &>().k_mask.template view<DeviceType>())>;
  using List = NeighListKokkos<DeviceType>;
  using Neighbors = std::decay_t<decltype(std::declval<List &>().d_neighbors)>;
  using Integers = std::decay_t<decltype(std::declval<List &>().d_numneigh)>;
};

}    // namespace LAMMPS_NS

#endif
