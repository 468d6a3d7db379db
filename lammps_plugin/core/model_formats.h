// SPDX-License-Identifier: MIT
// Internal: the two formats behind Model::load, and what they share.
#pragma once

#include "model.h"

#include <memory>
#include <string>

namespace legato {

std::unique_ptr<Model> load_torchscript(const std::string &path, const Device &device);
std::unique_ptr<Model> load_aotinductor(const std::string &path, int workers, const Device &device,
                                        PackageFiles *files);

// Names of the models in a package, see nequip_legato/deploy/archive.py.
constexpr const char *kWholeModel = "model";
constexpr const char *kEnergyModel = "energy";

// See Model::device_of.
std::string device_of_aotinductor(const std::string &path);

// First line of a torch message, which goes on with a stack trace.
std::string first_line(const std::string &message);

}    // namespace legato
