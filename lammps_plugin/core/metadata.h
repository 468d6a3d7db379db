// SPDX-License-Identifier: MIT
// What a deployed file says about itself.
#pragma once

#include <limits>
#include <map>
#include <string>
#include <vector>

namespace legato {

using StringMap = std::map<std::string, std::string>;

// Facts about a deployed model. Lengths in Angstrom, forces in eV/Angstrom.
// Matrices over types are row-major, (center type, neighbor type).
struct Metadata {
  std::vector<std::string> type_names;
  double cutoff = 0.0;                      // largest of edge_cutoffs
  std::vector<double> edge_cutoffs;         // (num_types, num_types)
  std::vector<double> shortest_distance;    // (num_types, num_types) in training, inf if never seen
  double largest_force = std::numeric_limits<double>::quiet_NaN();    // in training
  std::vector<double> isolated_energy;    // of an isolated atom of each type, eV; empty if unknown
  std::vector<double>
      fence_table;    // (num_types^2, fence_columns), see fence.h; empty without one
  int fence_columns = 0;
  std::string dtype;                // float32 or float64
  std::string device;               // device it was deployed for
  bool has_energy_model = false;    // an AOTInductor file with a second model, without forces

  int num_types() const { return static_cast<int>(type_names.size()); }
  // Index of a type name; -1 if the model does not have it.
  int type_index(const std::string &name) const;
  std::string joined_type_names() const;
};

// Names of every metadata entry that parse_metadata reads.
const std::vector<std::string> &metadata_keys();

// Turns the entries of a deployed file into Metadata.
// Throws Error if the file was not made for this engine or contradicts itself; `path` is for the
// message only.
Metadata parse_metadata(const StringMap &entries, const std::string &path);

}    // namespace legato
