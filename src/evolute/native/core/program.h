// A rule as this library keeps it: checked once, with plans that any job of it follows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "abi.h"
#include "kernel.h"

namespace evolute {

constexpr std::int32_t gradient_register = 0, weight_register = 1, first_number_register = 2;

// Where a value lives while a plan runs. Of an `average` the index is its instruction: it is what
// the slot holds times the bias correction. What is `carried` was written by an earlier walk.
struct Place {
    enum class Kind {
        none, running, gradient, weight, slot, average, carried, tile, number
    } kind = Kind::none;
    std::int32_t index = 0;
    std::int32_t factor = -1;  // register of a number by which what lies there is multiplied
    bool sign = false;         // of what lies there only its sign is read
};

// A step before it is made ready for a job.
struct PlannedStep {
    enum class Kind {
        function, of_signs, scaled_sum, load, store, add_squares, apply
    } kind;
    Place a, b, c;
    std::int32_t instruction = -1;  // whose parameter, noise and norm it uses
    Opcode opcode = Opcode::identity;
    std::int32_t factors[2] = {-1, -1};  // of a scaled sum: registers of numbers; −1 is 1
    std::int32_t addend = -1;            // register of a number added to a denominator first
    bool divided_root = false;           // a root that the divider finds alone
    bool minus = false;                  // and its second product is taken away
    bool value_is_read = true;           // by the next step, as the running value
    bool sign_is_enough = false;         // to that reader
};

// One walk over the elements.
struct Plan {
    std::vector<PlannedStep> steps;
    std::int32_t norm_of = -1;       // the instruction whose norm it finds; else it moves the weight
    std::int32_t tiles = 0;          // scratch tiles it needs
};

}  // namespace evolute

struct EvoluteProgram {
    std::vector<EvoluteInstruction> instructions;
    std::vector<float> constants;
    std::int32_t decay_count, slot_count, noise_count, output;
    evolute::Momentum momentum;

    // Derived: which registers are one number for all elements, which are −1, 0 or 1 in each; the
    // plans of a job, in order, for g as it is and for −g, and for a weight that does not shrink
    // before the rule reads it and for one that does; how many values walks leave for later ones;
    // the steps and the scratch tiles of the longest plan.
    std::vector<char> is_number, is_sign;
    std::vector<evolute::Plan> passes[2][2];
    std::int32_t carried_count = 0, most_steps = 0, most_tiles = 0;

    std::int32_t registers() const {
        return first_result() + static_cast<std::int32_t>(instructions.size());
    }
    std::int32_t first_result() const {
        return evolute::first_number_register + static_cast<std::int32_t>(constants.size()) +
               decay_count;
    }
    // Register of the factor on the weight, after those of the program.
    std::int32_t shrink_register() const { return registers(); }
    std::int32_t buffers() const {
        return slot_count + (momentum == evolute::Momentum::none ? 0 : 1);
    }
};

namespace evolute {

// What is wrong with a program; empty if nothing is.
std::string fault_of(const EvoluteProgram& program);

int arity_of(Opcode opcode);
bool is_elementwise(Opcode opcode);
bool is_stateful(Opcode opcode);
// Whether f(0) = 0 and f(−x) = −f(x).
bool is_odd(Opcode opcode);

// Fills in what is derived; the program must be without fault.
void make_plans(EvoluteProgram& program);

}  // namespace evolute
