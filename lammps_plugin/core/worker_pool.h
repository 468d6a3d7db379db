// SPDX-License-Identifier: MIT
// Threads that run a job side by side.
//
// The pool has its own threads, also when it has only one, so that torch never runs on the
// caller's: torch changes the OpenMP thread count of a thread it runs on, which LAMMPS' own OpenMP
// styles would not survive.
//
// A process that was forked off has none of these threads (Python's multiprocessing does that), so
// the pool starts others there when it is next used.
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include <sys/types.h>

namespace legato {

class WorkerPool {
 public:
  // `start` runs first on every new thread, on one thread of the process at a time. What it throws
  // is thrown here, or by the run that finds itself in a forked process.
  WorkerPool(int workers, std::function<void()> start);
  ~WorkerPool();
  WorkerPool(const WorkerPool &) = delete;
  WorkerPool &operator=(const WorkerPool &) = delete;

  int size() const { return workers_; }

  // Calls job(worker) on every thread and waits. Rethrows the first exception. Callers on several
  // threads wait for one another.
  void run(const std::function<void(int)> &job);
  // Calls job on one thread and waits.
  void run_one(const std::function<void()> &job);

 private:
  struct Crew;
  std::unique_ptr<Crew> hire() const;
  Crew &crew_of_this_process();

  int workers_;
  std::function<void()> start_;
  std::mutex crew_mutex_;
  std::unique_ptr<Crew> crew_;
  pid_t process_;
};

}    // namespace legato
