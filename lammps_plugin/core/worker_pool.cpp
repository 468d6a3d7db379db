// SPDX-License-Identifier: MIT
#include "worker_pool.h"

namespace legato {

WorkerPool::WorkerPool(int workers, const std::function<void()> &start)
{
  pending_ = workers;
  for (int worker = 0; worker < workers; ++worker)
    threads_.emplace_back([this, worker, start] { serve(worker, start); });
  std::unique_lock<std::mutex> lock(mutex_);
  done_.wait(lock, [this] { return pending_ == 0; });
}

WorkerPool::~WorkerPool()
{
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (auto &thread : threads_) thread.join();
}

void WorkerPool::run(const std::function<void(int)> &job)
{
  std::unique_lock<std::mutex> lock(mutex_);
  job_ = &job;
  failure_ = nullptr;
  pending_ = size();
  ++generation_;
  wake_.notify_all();
  done_.wait(lock, [this] { return pending_ == 0; });
  job_ = nullptr;
  if (failure_) std::rethrow_exception(failure_);
}

void WorkerPool::run_one(const std::function<void()> &job)
{
  run([&job](int worker) {
    if (worker == 0) job();
  });
}

void WorkerPool::serve(int worker, const std::function<void()> &start)
{
  start();
  long seen = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  if (--pending_ == 0) done_.notify_all();
  while (true) {
    wake_.wait(lock, [&] { return stop_ || generation_ != seen; });
    if (stop_) return;
    seen = generation_;
    const auto *job = job_;
    lock.unlock();
    std::exception_ptr failure;
    try {
      (*job)(worker);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    if (failure && !failure_) failure_ = failure;
    if (--pending_ == 0) done_.notify_all();
  }
}

}    // namespace legato
