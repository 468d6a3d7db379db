// SPDX-License-Identifier: MIT
#include "failures.h"

#include "block_view.h"
#include "error.h"
#include "model_formats.h"

#include <c10/util/Exception.h>

#include <new>
#include <string>

namespace legato {

namespace {

// Of a TorchScript failure the line that says what happened, not the trace through the model.
std::string reason_of(const std::exception &problem)
{
  if (const auto *error = dynamic_cast<const c10::Error *>(&problem))
    return first_line(error->what_without_backtrace());
  const std::string text = problem.what(), mark = "RuntimeError: ";
  const auto found = text.rfind(mark);
  return first_line(found == std::string::npos ? text : text.substr(found + mark.size()));
}

bool tells_of_memory(const std::exception &problem)
{
  if (dynamic_cast<const std::bad_alloc *>(&problem) ||
      dynamic_cast<const c10::OutOfMemoryError *>(&problem))
    return true;
  const std::string text = problem.what();
  // torch on CUDA and HIP, on the CPU, cuBLAS and its relatives
  for (const char *part :
       {"out of memory", "can't allocate memory", "not enough memory", "_STATUS_ALLOC_FAILED"})
    if (text.find(part) != std::string::npos) return true;
  return false;
}

}    // namespace

void throw_model_failure(const std::exception &problem, const bool out_of_memory)
{
  const std::string reason = reason_of(problem);
  if (out_of_memory || tells_of_memory(problem)) throw OutOfMemory(reason);
  throw Error("the model failed: " + reason);
}

void throw_load_failure(const std::string &path, const std::string &fault,
                        const std::exception &problem)
{
  const std::string what = tells_of_memory(problem)
                               ? "there is too little memory for it; see what else uses this device"
                               : fault + "; deploy it again with 'nequip-deploy build'";
  throw Error("cannot load model file '" + path + "', " + what +
              " (torch says: " + first_line(problem.what()) + ")");
}

}    // namespace legato
