// SPDX-License-Identifier: MIT
#include "device_memory.h"

#include "block_size.h"

#include <c10/core/DeviceGuard.h>
#include <torch/version.h>

// Older ones can tell neither the free memory nor the allocator's counts without CUDA's headers.
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 10)
#define LEGATO_KNOWS_MEMORY
#include <c10/core/CachingDeviceAllocator.h>
#endif

namespace legato {

#ifdef LEGATO_KNOWS_MEMORY

namespace {

// Without a guard, a thread that never chose a device would open another context on the first one.
c10::DeviceGuard guard_for(const Device &device)
{
  return c10::DeviceGuard(c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device.index)));
}

// Null on the CPU, and before torch has used the device.
c10::DeviceAllocator *allocator_of(const Device &device)
{
  if (device.is_cpu()) return nullptr;
  auto *allocator = c10::getDeviceAllocator(c10::kCUDA);
  return allocator->initialized() ? allocator : nullptr;
}

c10::CachingDeviceAllocator::DeviceStats stats_of(c10::DeviceAllocator &allocator,
                                                  const Device &device)
{
  return allocator.getDeviceStats(static_cast<c10::DeviceIndex>(device.index));
}

double now(const c10::CachingAllocator::StatArray &bytes)
{
  constexpr auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return static_cast<double>(bytes[all].current);
}

double highest(const c10::CachingAllocator::StatArray &bytes)
{
  constexpr auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return static_cast<double>(bytes[all].peak);
}

}    // namespace

double DeviceMemory::available() const
{
  auto *allocator = allocator_of(device_);
  if (!allocator) return 0.0;
  const auto guard = guard_for(device_);
  const auto stats = stats_of(*allocator, device_);
  const auto index = static_cast<c10::DeviceIndex>(device_.index);
  const auto free = static_cast<double>(allocator->getMemoryInfo(index).first);
  return free / sharers_ + now(stats.reserved_bytes) - now(stats.allocated_bytes);
}

void DeviceMemory::begin_measuring()
{
  auto *allocator = allocator_of(device_);
  if (!allocator) return;
  allocator->resetPeakStats(static_cast<c10::DeviceIndex>(device_.index));
  in_use_ = now(stats_of(*allocator, device_).allocated_bytes);
}

double DeviceMemory::peak() const
{
  auto *allocator = allocator_of(device_);
  return allocator ? highest(stats_of(*allocator, device_).allocated_bytes) - in_use_ : 0.0;
}

void DeviceMemory::trim() const
{
  auto *allocator = allocator_of(device_);
  if (!allocator) return;
  const auto guard = guard_for(device_);
  if (share_ == 0.0) share_ = 1.5 * kShareOfFreeMemory * available();
  const auto stats = stats_of(*allocator, device_);
  if (now(stats.reserved_bytes) - now(stats.allocated_bytes) > share_) allocator->emptyCache();
}

void DeviceMemory::give_back_cache() const
{
  auto *allocator = allocator_of(device_);
  if (!allocator) return;
  const auto guard = guard_for(device_);
  allocator->emptyCache();
}

std::int64_t count_out_of_memory(const Device &device)
{
  auto *allocator = allocator_of(device);
  return allocator ? stats_of(*allocator, device).num_ooms : 0;
}

#else

double DeviceMemory::available() const
{
  return 0.0;
}
void DeviceMemory::begin_measuring() {}
double DeviceMemory::peak() const
{
  return 0.0;
}
void DeviceMemory::trim() const {}
void DeviceMemory::give_back_cache() const {}
std::int64_t count_out_of_memory(const Device &)
{
  return 0;
}

#endif

}    // namespace legato
