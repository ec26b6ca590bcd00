// What Python calls: plain C, so that no version of Python or torch matters.
//
// No function keeps a pointer of its caller's but evolute_create, whose program lives until
// evolute_destroy. Programs do not change once made: any number of threads may run one.
#pragma once

#include <cstdint>

#if defined(_WIN32)
#define EVOLUTE_API extern "C" __declspec(dllexport)
#else
#define EVOLUTE_API extern "C" __attribute__((visibility("default")))
#endif

// One operation: the value of register (2 + constants + decays + its own place) is
// function(first, second). Of what a function lacks (second, slot, noise) the number is -1.
struct EvoluteInstruction {
    std::int32_t opcode;
    std::int32_t first;
    std::int32_t second;
    std::int32_t slot;
    std::int32_t noise;
    std::int32_t reserved;
    double parameter;
};

struct EvoluteProgram;

// One tensor to be moved one step. All pointers are to contiguous float32 but those said otherwise.
struct EvoluteJob {
    const EvoluteProgram* program;
    float* weight;
    const float* gradient;
    float* const* slots;          // one per state slot, then the momentum buffer if there is one
    const double* const* noise;   // one per random node: uniform numbers in [0, 1)
    const double* decays;         // value of each decay at this step
    std::int64_t count;           // elements
    std::int64_t step;            // t, counted from 0
    double rate;                  // sign · learning rate · schedule factor
    double momentum;              // μ
    double shrink;                // factor on the weight before the update: 1 − lr·λ
    std::int64_t maximize;        // not 0: the rule reads −gradient
};

// Version of this header: a library of another version is not used.
EVOLUTE_API std::int32_t evolute_abi();

// Number of a function by its name; -1 where it is unknown.
EVOLUTE_API std::int32_t evolute_opcode(const char* name);

// Whether this machine has the instructions of a path ("avx512", "avx2", "baseline").
EVOLUTE_API std::int32_t evolute_supports(const char* path);

// Chooses the path of all runs from now on; returns 0 where this machine or build lacks it.
EVOLUTE_API std::int32_t evolute_choose(const char* path);

// Makes a program; returns null, and writes the reason into `message`, where it is not well formed.
EVOLUTE_API EvoluteProgram* evolute_create(
    const EvoluteInstruction* instructions, std::int64_t instruction_count,
    const double* constants, std::int64_t constant_count, std::int64_t decay_count,
    std::int64_t slot_count, std::int64_t noise_count, std::int32_t output, std::int32_t momentum,
    char* message, std::int64_t message_size);

EVOLUTE_API void evolute_destroy(EvoluteProgram* program);

// Makes one step of each job; rows[i] are places in `jobs`, all of them where rows is null.
// No two jobs may share memory that they write. Returns 0; where there was no memory for a job, none
// has moved, and it returns `count`.
EVOLUTE_API std::int64_t evolute_run(const EvoluteJob* jobs, const std::int64_t* rows,
                                     std::int64_t count, std::int32_t threads);
