// Work shared by a few threads that wait between calls.
#pragma once

#include <cstdint>

namespace evolute {

// Calls work(context, i) once for each 0 ≤ i < tasks, on at most this many threads, the caller's
// included. Where another caller has the threads, all is done on the caller's own.
void share(int threads, std::int64_t tasks, void (*work)(void*, std::int64_t), void* context);

template <class Work>
void in_parallel(int threads, std::int64_t tasks, const Work& work) {
    if (threads <= 1 || tasks <= 1) {
        for (std::int64_t i = 0; i < tasks; ++i) work(i);
        return;
    }
    const auto call = [](void* context, std::int64_t i) { (*static_cast<const Work*>(context))(i); };
    share(threads, tasks, call, const_cast<Work*>(&work));
}

}  // namespace evolute
