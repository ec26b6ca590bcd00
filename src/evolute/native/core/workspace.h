// Memory that a thread keeps from one job to the next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernel.h"

namespace evolute {

// Memory of more floats than this is not kept for the next call.
constexpr std::size_t most_kept = 1 << 24;

// Memory of one thread; it grows and is kept.
struct Workspace {
    std::vector<float> scratch;
    std::vector<double> noise;
    std::unique_ptr<float[]> carried;
    std::size_t carried_room = 0;

    // A vector that lies across two lines of the cache costs twice.
    static float* aligned(float* from) {
        const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(from);
        return reinterpret_cast<float*>((address + 63) & ~static_cast<std::uintptr_t>(63));
    }

    // The first `tiles` scratch tiles, aligned to a line of the cache.
    float* tiles(std::size_t count) {
        const std::size_t room = count * largest_tile + 16;
        if (scratch.size() < room) scratch.resize(room);
        return aligned(scratch.data());
    }

    // Room for what walks leave for later ones, of no value yet.
    float* room_for_carried(std::size_t count) {
        if (carried_room < count) {
            carried.reset();
            carried_room = 0;
            carried.reset(new float[count + 16]);
            carried_room = count;
        }
        return aligned(carried.get());
    }
    void forget_much() {
        if (carried_room <= most_kept) return;
        carried.reset();
        carried_room = 0;
    }
};

inline Workspace& workspace() {
    static thread_local Workspace mine;
    return mine;
}

}  // namespace evolute
