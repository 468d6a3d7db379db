// SPDX-License-Identifier: MIT
#include "evaluator.h"

namespace legato {

Evaluator::Evaluator(const std::string &path, const EvaluatorOptions &options,
                     const std::function<Placement()> &place) :
    pool_(options.threads, use_single_thread)
{
  WorkerPool{1, restore_thread_count};    // a thread that starts, and ends
  int sharers = 1;
  pool_.run_one([&] {
    const Placement placement = place();
    sharers = placement.sharers;
    model_ = Model::load(path, options.threads, placement.device, options.files.get());
  });
  size_.emplace(options.block, !device().is_cpu());
  memory_.emplace(device(), sharers);
  limits_.emplace(metadata());
}

void Evaluator::begin_step()
{
  if (size_->to_measure()) memory_->begin_measuring();
}

void Evaluator::end_step(const int at_once)
{
  if (device().is_cpu()) return;
  if (size_->to_measure())
    size_->measured(memory_->peak(), at_once, memory_->available(), threads());
  memory_->trim();
}

int Evaluator::limit() const
{
  const std::lock_guard<std::mutex> lock(size_mutex_);
  return size_->limit();
}

void Evaluator::does_not_fit(const int n_centers, const std::string &reason)
{
  const std::lock_guard<std::mutex> lock(size_mutex_);
  size_->does_not_fit(n_centers, reason);
  memory_->give_back_cache();
}

}    // namespace legato
