// SPDX-License-Identifier: MIT
#include "device.h"

#include "error.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>

namespace legato {

// torch's hooks are there in every build, so that no header of CUDA is needed.
int count_gpus()
{
  return at::hasCUDA() ? static_cast<int>(at::getNumGPUs()) : 0;
}

void require_device(const Device &device)
{
  if (device.is_cpu()) return;
  const auto &hooks = at::detail::getCUDAHooks();
  if (!hooks.hasCUDART() && !hooks.hasROCM() && !hooks.hasCUDA())
    throw Error("the model is to run on a GPU, but the installed torch is a build for the CPU "
                "alone; install a torch for your GPU (pytorch.org) and build the plugin again, or "
                "run on the CPU ('device cpu')");
  const int n_gpus = count_gpus();
  if (n_gpus == 0)
    throw Error("the model is to run on a GPU, but torch does not find one; check the driver "
                "('nvidia-smi') and CUDA_VISIBLE_DEVICES, or run on the CPU ('device cpu')");
  if (device.index >= n_gpus)
    throw Error("the model is to run on GPU " + std::to_string(device.index) +
                ", but torch finds only " + std::to_string(n_gpus) +
                "; check CUDA_VISIBLE_DEVICES and the number of GPUs asked for");
}

}    // namespace legato
