// SPDX-License-Identifier: MIT
// The memory of a GPU, as torch's allocator sees it.
//
// torch caches the memory that a model gives back, and LAMMPS may find the device full. A limit of
// torch's share beforehand would need a number that nobody knows. Instead, the cache is handed back
// after a step in which it grew beyond its share. LAMMPS allocates between the force computations
// of two steps and then finds that memory free.
#pragma once

#include "device.h"

#include <cstdint>

namespace legato {

class DeviceMemory {
 public:
  // `sharers` processes use the device. Its numbers are those of `device` alone.
  DeviceMemory(const Device &device, int sharers) : device_(device), sharers_(sharers) {}

  // Bytes that this process may use on top of what is in use: its part of the free ones, and what
  // torch has in its cache. 0 if unknown: on the CPU, and with torch before 2.10.
  double available() const;

  // Peak of the bytes in use between begin_measuring and now, beyond those in use then.
  void begin_measuring();
  double peak() const;

  // To be called after a step: hands the cache back if it has outgrown its share.
  void trim() const;
  void give_back_cache() const;

 private:
  Device device_;
  int sharers_;
  double in_use_ = 0.0;
  mutable double share_ = 0.0;    // of the cache; 0 until it is known
};

// Number of times that the device had too little memory since the start of the process. Models that
// are compiled by AOTInductor fail without a reason: this number tells.
std::int64_t count_out_of_memory(const Device &device);

}    // namespace legato
