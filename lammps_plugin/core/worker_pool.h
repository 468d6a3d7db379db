// SPDX-License-Identifier: MIT
// Threads that run a job side by side.
//
// The pool has its own threads, also when it has only one, so that torch never runs on the
// caller's: torch changes the OpenMP thread count of a thread it runs on, which LAMMPS' own OpenMP
// styles would not survive.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace legato {

class WorkerPool {
 public:
  // `start` runs first on every new thread.
  WorkerPool(int workers, const std::function<void()> &start);
  ~WorkerPool();
  WorkerPool(const WorkerPool &) = delete;
  WorkerPool &operator=(const WorkerPool &) = delete;

  int size() const { return static_cast<int>(threads_.size()); }

  // Calls job(worker) on every thread and waits. Rethrows the first exception.
  void run(const std::function<void(int)> &job);
  // Calls job on one thread and waits.
  void run_one(const std::function<void()> &job);

 private:
  void serve(int worker, const std::function<void()> &start);

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int)> *job_ = nullptr;
  std::exception_ptr failure_;
  long generation_ = 0;
  int pending_ = 0;
  bool stop_ = false;
};

}    // namespace legato
