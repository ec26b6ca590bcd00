// Work shared by a few threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace evolute {

// Calls work(i) once for each 0 ≤ i < tasks, on at most this many threads, the caller's included.
template <class Work>
void in_parallel(int threads, std::int64_t tasks, const Work& work) {
    if (threads <= 1 || tasks <= 1) {
        for (std::int64_t i = 0; i < tasks; ++i) work(i);
        return;
    }
    std::atomic<std::int64_t> next{0};
    const auto take = [&] {
        for (std::int64_t i = next++; i < tasks; i = next++) work(i);
    };
    std::vector<std::thread> others;
    for (std::int64_t i = 1; i < threads && i < tasks; ++i) others.emplace_back(take);
    take();
    for (std::thread& each : others) each.join();
}

}  // namespace evolute
