// SPDX-License-Identifier: MIT
// Builds blocks from neighbor lists.
#pragma once

#include "block.h"
#include "metadata.h"
#include "pair_limits.h"
#include "system.h"

namespace legato {

// How close the atoms of a block come, against the training data.
struct Closeness {
  double smallest_ratio_squared;    // of distance / shortest distance in training
  std::int64_t n_outside = 0;       // centers with a ratio below 1
  std::int64_t n_fenced = 0;        // edges on which the model's fence acts
  double fence_energy = 0.0;        // their fence's energy, eV; part of the model's
};

// Fills `block` with the edges of centers[begin, end) that are shorter than their cutoff.
// Centers that the model does not know are left out. Deployed models are compiled for two edges
// or more: a block with fewer is padded with edges between type nodes, whose energies nobody reads.
Closeness gather_block(const System &system, const Metadata &metadata, const PairLimits &limits,
                       int begin, int end, Block &block);

}    // namespace legato
