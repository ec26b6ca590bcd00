// Memory that a run needs beside that of its jobs, kept from one call to the next.
//
// A call reserves all of it before anything moves, so that a step is made whole or not at all.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "program.h"

namespace evolute {

// Of what walks carry, memory of more floats than this is not kept for the next call.
constexpr std::size_t most_kept = 1 << 24;

// How much of each kind the jobs of a call need at most.
struct Needs {
    std::size_t numbers = 0, instructions = 0, steps = 0, tiles = 0, buffers = 0, noise = 0;
    std::size_t chunks = 0, carried = 0;

    void include(const EvoluteProgram& program) {
        const auto raise = [](std::size_t& most, std::size_t to) { most = std::max(most, to); };
        raise(numbers, static_cast<std::size_t>(program.registers()) + 1);
        raise(instructions, program.instructions.size());
        raise(steps, static_cast<std::size_t>(program.most_steps));
        raise(tiles, static_cast<std::size_t>(program.most_tiles));
        raise(buffers, static_cast<std::size_t>(program.buffers()));
        raise(noise, static_cast<std::size_t>(program.noise_count));
    }
};

// Floats of no value yet, on a line of the cache: a vector across two lines costs twice.
class Floats {
   public:
    void reserve(std::size_t count) {
        if (room_ >= count) return;
        clear();
        memory_.reset(new float[count + 16]);
        room_ = count;
    }
    void clear() {
        memory_.reset();
        room_ = 0;
    }
    std::size_t room() const { return room_; }
    float* begin() const {
        const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(memory_.get());
        return reinterpret_cast<float*>((address + 63) & ~static_cast<std::uintptr_t>(63));
    }

   private:
    std::unique_ptr<float[]> memory_;
    std::size_t room_ = 0;
};

// What one thread works in. Once reserved, vectors may be filled up to what was asked for.
struct Workspace {
    Floats tiles, carried;
    std::vector<float> numbers, corrections;
    std::vector<double> norms, noise, sums;
    std::vector<Step> steps, steps_of_rest;
    std::vector<float*> slots;
    std::vector<const double*> noise_at;

    // Throws std::bad_alloc.
    void reserve(const Needs& needs) {
        numbers.reserve(needs.numbers);
        corrections.reserve(needs.instructions);
        norms.reserve(needs.instructions);
        steps.reserve(needs.steps);
        steps_of_rest.reserve(needs.steps);
        slots.reserve(needs.buffers);
        noise_at.reserve(needs.noise);
        noise.reserve(needs.noise * largest_tile);
        sums.reserve(needs.chunks);
        tiles.reserve((needs.tiles + needs.buffers + 3) * largest_tile);
        carried.reserve(needs.carried);
    }

    void forget_much() {
        if (carried.room() > most_kept) carried.clear();
    }
};

// The workspaces of the threads that work for a caller.
using Workspaces = std::vector<std::unique_ptr<Workspace>>;

}  // namespace evolute
