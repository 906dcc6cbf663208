#include "runtime/emu/thread_pool.h"

namespace ptxsmith::emu {

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::Run(const std::function<void(int)>& work) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (int i = static_cast<int>(threads_.size()) + 1; i < size_; ++i) {
      threads_.emplace_back([this, i] { Loop(i); });
    }
    work_ = &work;
    running_ = size_ - 1;
    ++round_;
  }
  start_.notify_all();
  work(0);
  std::unique_lock<std::mutex> lock(mutex_);
  finished_.wait(lock, [this] { return running_ == 0; });
  work_ = nullptr;
}

void ThreadPool::Loop(int worker) {
  uint64_t seen = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    start_.wait(lock, [&] { return stop_ || round_ != seen; });
    if (stop_) return;
    seen = round_;
    const std::function<void(int)>* work = work_;
    lock.unlock();
    (*work)(worker);
    lock.lock();
    if (--running_ == 0) finished_.notify_one();
  }
}

}  // namespace ptxsmith::emu
