// SPDX-License-Identifier: MIT
// Internal: what torch throws, as Error or OutOfMemory.
#pragma once

#include "device.h"
#include "device_memory.h"
#include "error.h"

#include <cstdint>
#include <exception>
#include <string>

namespace legato {

// Throws OutOfMemory if `problem` was a lack of memory, otherwise Error.
[[noreturn]] void throw_model_failure(const std::exception &problem, bool out_of_memory);

// Throws Error: what kept torch from loading a file. `fault` is what is wrong with the file, unless
// there was too little memory, which is not its fault.
[[noreturn]] void throw_load_failure(const std::string &path, const std::string &fault,
                                     const std::exception &problem);

// Calls `evaluate`, which runs a model on a device. Neither format lets torch's own out-of-memory
// exception through: TorchScript puts its text into another one, AOTInductor drops even that.
template <class Function> auto with_failures(const Device &device, const Function &evaluate)
{
  const std::int64_t before = count_out_of_memory(device);
  try {
    return evaluate();
  } catch (const Error &) {
    throw;
  } catch (const std::exception &problem) {
    throw_model_failure(problem, count_out_of_memory(device) > before);
  }
}

}    // namespace legato
