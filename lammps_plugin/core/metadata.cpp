// SPDX-License-Identifier: MIT
#include "metadata.h"

#include "error.h"
#include "fence.h"
#include "words.h"

#include <algorithm>
#include <cmath>

namespace legato {

namespace {

constexpr const char *kFormat = "1";
constexpr const char *kInputs = "pos edge_index atom_types edge_vectors";
constexpr const char *kOutputs = "atomic_energy edge_forces";

std::string entry(const StringMap &entries, const std::string &key)
{
  const auto found = entries.find(key);
  return found == entries.end() ? std::string() : found->second;
}

double number(const std::string &word, const std::string &key, const std::string &path)
{
  const std::optional<double> value = parse_number(word);
  if (!value)
    throw Error("model file '" + path + "' is damaged: entry '" + key + "' is not a number ('" +
                word + "'); deploy it again with 'nequip-deploy build'");
  return *value;
}

std::vector<double> type_matrix(const std::string &text, int num_types, const std::string &key,
                                const std::string &path)
{
  std::vector<double> values;
  for (const auto &word : words(text)) values.push_back(number(word, key, path));
  const auto wanted = static_cast<std::size_t>(num_types) * num_types;
  if (values.size() != wanted)
    throw Error("model file '" + path + "' is damaged: entry '" + key + "' holds " +
                std::to_string(values.size()) + " numbers instead of " + std::to_string(wanted) +
                "; deploy it again with 'nequip-deploy build'");
  return values;
}

// The file must take edge vectors; a file for pair_allegro takes positions.
void check_contract(const StringMap &entries, const std::string &path)
{
  const std::string format = entry(entries, "legato_format");
  if (!format.empty()) {
    if (format != kFormat)
      throw Error("model file '" + path + "' has format " + format + ", but this plugin reads " +
                  kFormat + "; use the nequip-legato that made the file, or deploy it again");
    return;
  }
  // 'nequip-compile --target pair_allegro_legato' leaves no legato_* entries.
  if (entry(entries, "nequip_aoti_inputs") == kInputs &&
      entry(entries, "nequip_aoti_outputs") == kOutputs)
    return;
  if (!entry(entries, "r_max").empty())
    throw Error("model file '" + path +
                "' was compiled for another program (pair_allegro, ASE); convert the checkpoint "
                "or package it came from with 'nequip-deploy build CHECKPOINT " +
                path + "'");
  throw Error("'" + path +
              "' is not a deployed nequip model; make one with 'nequip-deploy build CHECKPOINT "
              "OUT.nequip.pth'");
}

}    // namespace

int Metadata::type_index(const std::string &name) const
{
  const auto found = std::find(type_names.begin(), type_names.end(), name);
  return found == type_names.end() ? -1 : static_cast<int>(found - type_names.begin());
}

std::string Metadata::joined_type_names() const
{
  std::string joined;
  for (const auto &name : type_names) joined += (joined.empty() ? "" : " ") + name;
  return joined;
}

const std::vector<std::string> &metadata_keys()
{
  static const std::vector<std::string> keys = {"r_max",
                                                "type_names",
                                                "num_types",
                                                "model_dtype",
                                                "legato_units",
                                                "legato_device",
                                                "legato_format",
                                                "per_edge_type_cutoff",
                                                "AOTI_DEVICE_KEY",
                                                "nequip_aoti_inputs",
                                                "nequip_aoti_outputs",
                                                "legato_shortest_distance",
                                                "legato_largest_force",
                                                "legato_isolated_energy",
                                                "legato_fence_table",
                                                "legato_energy_model"};
  return keys;
}

Metadata parse_metadata(const StringMap &entries, const std::string &path)
{
  check_contract(entries, path);

  Metadata metadata;
  metadata.type_names = words(entry(entries, "type_names"));
  if (metadata.type_names.empty())
    throw Error("model file '" + path +
                "' names no atom types; deploy it again with 'nequip-deploy build'");
  const int num_types = metadata.num_types();
  const auto pairs = static_cast<std::size_t>(num_types) * num_types;

  const double r_max = number(entry(entries, "r_max"), "r_max", path);
  const std::string per_edge_type = entry(entries, "per_edge_type_cutoff");
  metadata.edge_cutoffs = per_edge_type.empty()
                              ? std::vector<double>(pairs, r_max)
                              : type_matrix(per_edge_type, num_types, "per_edge_type_cutoff", path);
  metadata.cutoff = *std::max_element(metadata.edge_cutoffs.begin(), metadata.edge_cutoffs.end());
  if (!(metadata.cutoff > 0.0) || !std::isfinite(metadata.cutoff))
    throw Error("model file '" + path + "' has no usable cutoff (r_max = " +
                entry(entries, "r_max") + "); deploy it again with 'nequip-deploy build'");

  const std::string units = entry(entries, "legato_units");
  if (!units.empty() && units != "metal")
    throw Error("model file '" + path + "' is in units '" + units +
                "'; this plugin reads models in metal units (eV, Angstrom)");

  const std::string shortest = entry(entries, "legato_shortest_distance");
  metadata.shortest_distance =
      shortest.empty() ? std::vector<double>(pairs, std::numeric_limits<double>::infinity())
                       : type_matrix(shortest, num_types, "legato_shortest_distance", path);
  const std::string largest = entry(entries, "legato_largest_force");
  if (!largest.empty()) metadata.largest_force = number(largest, "legato_largest_force", path);

  for (const auto &word : words(entry(entries, "legato_isolated_energy")))
    metadata.isolated_energy.push_back(number(word, "legato_isolated_energy", path));
  if (!metadata.isolated_energy.empty() &&
      static_cast<int>(metadata.isolated_energy.size()) != num_types)
    throw Error("model file '" + path +
                "' is damaged: entry 'legato_isolated_energy' has a wrong number of numbers; "
                "deploy it again with 'nequip-deploy build'");

  for (const auto &word : words(entry(entries, "legato_fence_table")))
    metadata.fence_table.push_back(number(word, "legato_fence_table", path));
  metadata.fence_columns = static_cast<int>(metadata.fence_table.size() / pairs);
  const int bump_columns = metadata.fence_columns - kWallColumns;
  if (metadata.fence_table.size() % pairs != 0 ||
      (metadata.fence_columns > 0 && (bump_columns < 0 || bump_columns % kBumpColumns != 0)))
    throw Error("model file '" + path +
                "' is damaged: entry 'legato_fence_table' has a wrong number of numbers; deploy it "
                "again with 'nequip-deploy build'");

  metadata.dtype = entry(entries, "model_dtype");
  metadata.device = entry(entries, "legato_device");
  if (metadata.device.empty()) metadata.device = entry(entries, "AOTI_DEVICE_KEY");
  if (metadata.device.empty()) metadata.device = "cpu";
  metadata.has_energy_model = entry(entries, "legato_energy_model") == "1";
  return metadata;
}

}    // namespace legato
