#include "program.h"

#include <cstring>

namespace evolute {

namespace {

struct Row {
    const char* name;
    int arity;
};
constexpr Row rows[] = {
#define EVOLUTE_ROW(name, arity) {#name, arity},
    EVOLUTE_FUNCTIONS(EVOLUTE_ROW)
#undef EVOLUTE_ROW
};

constexpr std::int64_t most_instructions = 1 << 14, most_numbers = 1 << 14;

std::string at(std::size_t place, const char* what) {
    return "instruction " + std::to_string(place) + " " + what;
}

}  // namespace

int arity_of(Opcode opcode) { return rows[static_cast<std::int32_t>(opcode)].arity; }

bool is_elementwise(Opcode opcode) {
    return !is_stateful(opcode) && opcode != Opcode::dropout && opcode != Opcode::clip_norm;
}

bool is_stateful(Opcode opcode) {
    switch (opcode) {
#define EVOLUTE_CASE(name, arity) case Opcode::name:
        EVOLUTE_STATEFUL(EVOLUTE_CASE)
#undef EVOLUTE_CASE
        return true;
        default: return false;
    }
}

bool is_odd(Opcode opcode) {
    switch (opcode) {
        case Opcode::erf: case Opcode::arcsinh: case Opcode::tanh: case Opcode::arctan:
        case Opcode::bessel_i1e:
            return true;
        default: return false;
    }
}

std::string fault_of(const EvoluteProgram& program) {
    const std::int32_t first = program.first_result();
    std::vector<char> slot_used(program.slot_count, 0), noise_used(program.noise_count, 0);
    for (std::size_t i = 0; i < program.instructions.size(); ++i) {
        const EvoluteInstruction& each = program.instructions[i];
        if (each.opcode < 0 || each.opcode >= static_cast<std::int32_t>(Opcode::count)) {
            return at(i, "has an unknown function");
        }
        const Opcode opcode = static_cast<Opcode>(each.opcode);
        const std::int32_t next = first + static_cast<std::int32_t>(i);
        if (each.first < 0 || each.first >= next) return at(i, "reads a register not yet written");
        if (arity_of(opcode) == 1 ? each.second != -1 : each.second < 0 || each.second >= next) {
            return at(i, "has a wrong second argument");
        }
        if (is_stateful(opcode)) {
            if (each.slot < 0 || each.slot >= program.slot_count || slot_used[each.slot]++) {
                return at(i, "needs a state slot of its own");
            }
        } else if (each.slot != -1) {
            return at(i, "has no state and names a slot");
        }
        if (opcode == Opcode::dropout) {
            if (each.noise < 0 || each.noise >= program.noise_count || noise_used[each.noise]++) {
                return at(i, "needs a noise of its own");
            }
        } else if (each.noise != -1) {
            return at(i, "has no noise and names one");
        }
    }
    if (program.output < 0 || program.output >= program.registers()) {
        return "the output is no register of the program";
    }
    return "";
}

}  // namespace evolute

using namespace evolute;

std::int32_t evolute_opcode(const char* name) {
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(Opcode::count); ++i) {
        if (std::strcmp(name, rows[i].name) == 0) return i;
    }
    return -1;
}

namespace {

EvoluteProgram* refuse(const std::string& reason, char* message, std::int64_t size) {
    if (message != nullptr && size > 0) {
        const std::size_t room = static_cast<std::size_t>(size) - 1;
        const std::size_t length = reason.size() < room ? reason.size() : room;
        std::memcpy(message, reason.data(), length);
        message[length] = '\0';
    }
    return nullptr;
}

bool in(std::int64_t count, std::int64_t most) { return count >= 0 && count <= most; }

}  // namespace

EvoluteProgram* evolute_create(
    const EvoluteInstruction* instructions, std::int64_t instruction_count,
    const double* constants, std::int64_t constant_count, std::int64_t decay_count,
    std::int64_t slot_count, std::int64_t noise_count, std::int32_t output, std::int32_t momentum,
    char* message, std::int64_t message_size) {
    if (!in(instruction_count, most_instructions) || !in(constant_count, most_numbers) ||
        !in(decay_count, most_numbers) || !in(slot_count, most_instructions) ||
        !in(noise_count, most_instructions)) {
        return refuse("a count is negative or too large", message, message_size);
    }
    if (momentum < 0 || momentum >= static_cast<std::int32_t>(Momentum::count)) {
        return refuse("the momentum type is unknown", message, message_size);
    }
    try {
        EvoluteProgram program;
        program.instructions.assign(instructions, instructions + instruction_count);
        for (std::int64_t i = 0; i < constant_count; ++i) {
            program.constants.push_back(static_cast<float>(constants[i]));
        }
        program.decay_count = static_cast<std::int32_t>(decay_count);
        program.slot_count = static_cast<std::int32_t>(slot_count);
        program.noise_count = static_cast<std::int32_t>(noise_count);
        program.output = output;
        program.momentum = static_cast<Momentum>(momentum);
        const std::string fault = fault_of(program);
        if (!fault.empty()) return refuse(fault, message, message_size);
        make_plans(program);
        return new EvoluteProgram(std::move(program));
    } catch (const std::exception& error) {  // no exception leaves C
        return refuse(error.what(), message, message_size);
    }
}

void evolute_destroy(EvoluteProgram* program) { delete program; }
