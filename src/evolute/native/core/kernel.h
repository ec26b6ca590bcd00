// What a path (one set of machine instructions) offers, and the steps that it walks.
//
// A tile is eight vectors of floats. All steps of a plan run on one tile before the next begins:
// the running value stays in vector registers, other values in scratch tiles of the first cache.
#pragma once

#include <cstddef>
#include <cstdint>

#include "opcodes.h"

namespace evolute {

// Where an argument of a step comes from: the step before, memory, memory times a number, or a
// number for all elements. Products and sums also read the signs of the first two.
enum class Source : std::int32_t { running, memory, scaled, number, running_sign, memory_sign };

// What a step can do beside the functions of the language.
enum class Extra : std::int32_t {
    load,         // running value ← argument a
    store,        // tile c ← running value
    end,          // tile c ← argument a, and the walk ends
    add_squares,  // the squares of argument a are added to sums, and the walk ends
    scale,        // running value ← running value · (p + q)
    divided_root, // running value ← root of the magnitude of argument a, by the divider alone
    of_signs,     // running value ← p, q or r where it is −1, 0 or 1
    odd_of_signs, // the same with 0 where it is 0
};

// Sums of two arguments times numbers, each product rounded.
enum class Sum : std::int32_t {
    of_products,   // p·a + q·b
    of_one,        // p·a + q·a, so that a is read once
    with_product,  // a + q·b
    from_product,  // q·b − a
};

constexpr int largest_tile = 128;

// Squares are added up in this many sums, element i into sum i mod 8, on every path.
constexpr int sums_of_squares = 8;

// One step, made ready for one job. Memory at element `at` of the tensor is address + (at & mask):
// mask is 0 for scratch tiles. Numbers are read from where a and b point.
struct Step {
    void (*run)();
    const float* a;
    const float* b;
    float* c;
    const double* noise;
    double* sums;
    std::ptrdiff_t mask_a;
    std::ptrdiff_t mask_b;
    std::ptrdiff_t mask_c;
    double number;    // rate of dropout, norm of clip_norm
    float p, q, r;    // see the functions that read them
    float scale_a, scale_b;  // of arguments that are scaled
};

struct Kernel {
    const char* name;
    int tile;
    void (*(*function)(Opcode opcode, Source a, Source b))();
    void (*(*extra)(Extra extra, Source a))();
    void (*(*sum)(Sum shape, Source a, Source b))();
    // The last step of all; `shrinks` is false where r is 1.
    void (*(*apply)(Momentum momentum, bool shrinks))();
    // Whether a function has handlers for arguments that are not the running value.
    bool (*direct)(Opcode opcode);
    // Walks the steps over the elements from ≤ at < to, a whole number of tiles.
    void (*walk)(const Step* steps, std::ptrdiff_t from, std::ptrdiff_t to);
    // The same, faster, of the only step add_squares whose argument is memory, scaled or not.
    void (*walk_squares)(Source a, const Step* step, std::ptrdiff_t from, std::ptrdiff_t to);
};

const Kernel& kernel_baseline();
#if defined(EVOLUTE_X86)
const Kernel& kernel_avx2();
const Kernel& kernel_avx512();
#endif

}  // namespace evolute
