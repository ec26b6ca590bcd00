#include "threads.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace evolute {

namespace {

constexpr int most_helpers = 255;

long process() {
#if defined(_WIN32)
    return 0;
#else
    return static_cast<long>(getpid());
#endif
}

class Pool {
   public:
    const long owner = process();
    std::mutex turn;  // held by the caller whose work is being done

    void run(int threads, std::int64_t tasks, void (*work)(void*, std::int64_t), void* context) {
        const int helpers = static_cast<int>(std::min<std::int64_t>(
            std::min(threads - 1, most_helpers), tasks - 1));
        {
            std::lock_guard<std::mutex> lock(mutex_);
            while (started_ < helpers && start()) {
            }
            work_ = work;
            context_ = context;
            tasks_ = tasks;
            next_ = 0;
            open_ = helpers;
        }
        wake_.notify_all();
        take();
        // Who has not begun by now need not begin: nobody waits for a thread that sleeps.
        std::unique_lock<std::mutex> lock(mutex_);
        open_ = 0;
        done_.wait(lock, [&] { return inside_ == 0; });
    }

   private:
    bool start() {
        try {
            std::thread([this] { help(); }).detach();
        } catch (const std::system_error&) {  // no more threads to be had: fewer do the work
            return false;
        }
        ++started_;
        return true;
    }

    void help() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return open_ > 0; });
            --open_;
            ++inside_;
            lock.unlock();
            take();
            lock.lock();
            if (--inside_ == 0) done_.notify_one();
        }
    }

    void take() {
        for (std::int64_t i = next_++; i < tasks_; i = next_++) work_(context_, i);
    }

    std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::atomic<std::int64_t> next_{0};
    std::int64_t tasks_ = 0;
    void (*work_)(void*, std::int64_t) = nullptr;
    void* context_ = nullptr;
    int started_ = 0;  // threads there are
    int open_ = 0;     // threads that may still join
    int inside_ = 0;   // threads at work beside the caller
};

// The pool of this process: threads do not outlive a fork, so a child makes its own. Pools are
// never destroyed, as their threads wait in them until the process ends.
Pool& pool() {
    static std::mutex mutex;
    static Pool* present = nullptr;
    std::lock_guard<std::mutex> lock(mutex);
    if (present == nullptr || present->owner != process()) present = new Pool;
    return *present;
}

}  // namespace

void share(int threads, std::int64_t tasks, void (*work)(void*, std::int64_t), void* context) {
    Pool& mine = pool();
    std::unique_lock<std::mutex> turn(mine.turn, std::try_to_lock);
    if (!turn.owns_lock()) {
        for (std::int64_t i = 0; i < tasks; ++i) work(context, i);
        return;
    }
    mine.run(threads, tasks, work, context);
}

}  // namespace evolute
