// SPDX-License-Identifier: MIT
#include "worker_pool.h"

#include <condition_variable>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

namespace legato {

namespace {

// Held by a thread that starts, of whichever pool. torch sets up its own pool of threads anew in
// the first thread that asks for their number after a fork, and a second one that asks meanwhile
// finds none: "Invalid thread pool!".
std::mutex starting;

}    // namespace

// The threads, and all that they share.
struct WorkerPool::Crew {
  std::vector<std::thread> threads;
  std::mutex calls;    // one job at a time
  std::mutex mutex;
  std::condition_variable wake, done;
  const std::function<void(int)> *job = nullptr;
  std::exception_ptr failure;
  long generation = 0;
  int pending = 0;
  bool stop = false;

  void serve(int worker, const std::function<void()> &start)
  {
    std::exception_ptr unstarted;
    try {
      const std::lock_guard<std::mutex> alone(starting);
      start();
    } catch (...) {
      unstarted = std::current_exception();
    }
    long seen = 0;
    std::unique_lock<std::mutex> lock(mutex);
    if (unstarted && !failure) failure = unstarted;
    if (--pending == 0) done.notify_all();
    while (true) {
      wake.wait(lock, [&] { return stop || generation != seen; });
      if (stop) return;
      seen = generation;
      const auto *mine = job;
      lock.unlock();
      std::exception_ptr problem;
      try {
        (*mine)(worker);
      } catch (...) {
        problem = std::current_exception();
      }
      lock.lock();
      if (problem && !failure) failure = problem;
      if (--pending == 0) done.notify_all();
    }
  }

  void run(const std::function<void(int)> &wanted)
  {
    const std::lock_guard<std::mutex> alone(calls);
    std::unique_lock<std::mutex> lock(mutex);
    job = &wanted;
    failure = nullptr;
    pending = static_cast<int>(threads.size());
    ++generation;
    wake.notify_all();
    done.wait(lock, [this] { return pending == 0; });
    job = nullptr;
    if (failure) std::rethrow_exception(std::exchange(failure, nullptr));
  }

  ~Crew()
  {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      stop = true;
    }
    wake.notify_all();
    for (auto &thread : threads) thread.join();
  }
};

WorkerPool::WorkerPool(int workers, std::function<void()> start) :
    workers_(workers), start_(std::move(start)), crew_(hire()), process_(getpid())
{
}

WorkerPool::~WorkerPool()
{
  // See crew_of_this_process().
  if (process_ != getpid()) static_cast<void>(crew_.release());
}

std::unique_ptr<WorkerPool::Crew> WorkerPool::hire() const
{
  auto crew = std::make_unique<Crew>();
  crew->pending = workers_;
  for (int worker = 0; worker < workers_; ++worker)
    crew->threads.emplace_back(
        [shared = crew.get(), worker, start = start_] { shared->serve(worker, start); });
  std::unique_lock<std::mutex> lock(crew->mutex);
  crew->done.wait(lock, [&crew] { return crew->pending == 0; });
  if (crew->failure) {
    const std::exception_ptr failure = std::exchange(crew->failure, nullptr);
    lock.unlock();
    std::rethrow_exception(failure);    // the crew ends its threads
  }
  lock.unlock();
  return crew;
}

WorkerPool::Crew &WorkerPool::crew_of_this_process()
{
  const std::lock_guard<std::mutex> lock(crew_mutex_);
  if (process_ != getpid()) {
    // Left alone for good: to join threads that are not here, or to destroy a condition variable
    // that they wait for, would never end.
    static_cast<void>(crew_.release());
    crew_ = hire();
    process_ = getpid();
  }
  return *crew_;
}

void WorkerPool::run(const std::function<void(int)> &job)
{
  crew_of_this_process().run(job);
}

void WorkerPool::run_one(const std::function<void()> &job)
{
  run([&job](int worker) {
    if (worker == 0) job();
  });
}

}    // namespace legato
