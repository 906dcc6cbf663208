// A fixed set of host threads that run the same function together. Used by the emulator to run the
// blocks of a grid.
//
//   ThreadPool pool(4);
//   pool.Run([&](int worker) { ... });   // on 4 threads, the caller is worker 0; waits for all
//
// Thread-safety: Run is called by one thread at a time.
#ifndef PTXSMITH_RUNTIME_EMU_THREAD_POOL_H_
#define PTXSMITH_RUNTIME_EMU_THREAD_POOL_H_

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace ptxsmith::emu {

class ThreadPool {
 public:
  // `size` 0: as many as the host has. Threads start with the first Run.
  explicit ThreadPool(int size)
      : size_(size > 0 ? size
                       : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))) {}
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  void Run(const std::function<void(int worker)>& work);
  int size() const { return size_; }

 private:
  void Loop(int worker);

  const int size_;
  std::mutex mutex_;
  std::condition_variable start_, finished_;
  const std::function<void(int)>* work_ = nullptr;
  uint64_t round_ = 0;
  int running_ = 0;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_THREAD_POOL_H_
