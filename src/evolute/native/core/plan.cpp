// Turns a program into steps: what is computed in which order, and where each value lives.
//
// The order is the program's own. A value that only the next step reads stays in vector registers;
// others get a scratch tile, which is given away again after their last reader.
#include <algorithm>

#include "program.h"

namespace evolute {

namespace {

using Kind = PlannedStep::Kind;

Place running() { return {Place::Kind::running, 0}; }

bool is_stream(const Place& place) {
    return place.kind == Place::Kind::gradient || place.kind == Place::Kind::weight ||
           place.kind == Place::Kind::slot;
}

// Makes the plan of one walk: the instructions that lead to `goal`, then its end.
class Planner {
   public:
    Planner(const EvoluteProgram& program, std::int32_t goal, bool maximize, bool shrinks, Plan& plan)
        : program_(program), goal_(goal), maximize_(maximize), shrinks_(shrinks), plan_(plan) {
        places_.resize(program.registers());
        places_[gradient_register] = {Place::Kind::gradient, 0};
        places_[weight_register] = {Place::Kind::weight, 0};
        for (std::int32_t i = first_number_register; i < program.registers(); ++i) {
            if (program.is_number[i]) places_[i] = {Place::Kind::number, i};
        }
    }

    void make(PlannedStep end) {
        find_needed();
        if (maximize_ && last_use_[gradient_register] >= 0) {
            prepare(gradient_register, Opcode::neg, {});
        }
        // The rule reads the weight after its decay.
        if (shrinks_ && last_use_[weight_register] >= 0) {
            prepare(weight_register, Opcode::mul,
                    {Place::Kind::number, program_.shrink_register()});
        }
        for (std::size_t i = 0; i < needed_.size(); ++i) add(i);
        if (place_of(goal_).kind != Place::Kind::running) load(goal_);
        plan_.steps.push_back(end);
        find_streams();
    }

   private:
    bool is_number(std::int32_t value) const { return program_.is_number[value]; }

    const EvoluteInstruction& instruction_of(std::int32_t value) const {
        return program_.instructions[value - program_.first_result()];
    }

    // The instructions to run, as values in order, and the place in that list of the last reader
    // of each value: its length for the goal.
    void find_needed() {
        std::vector<char> wanted(program_.registers(), 0);
        wanted[goal_] = 1;
        for (std::int32_t i = program_.registers() - 1; i >= program_.first_result(); --i) {
            if (!wanted[i] || is_number(i)) continue;
            needed_.push_back(i);
            wanted[instruction_of(i).first] = 1;
            if (instruction_of(i).second >= 0) wanted[instruction_of(i).second] = 1;
        }
        std::reverse(needed_.begin(), needed_.end());
        first_use_.assign(program_.registers(), -1);
        last_use_.assign(program_.registers(), -1);
        for (std::size_t i = 0; i < needed_.size(); ++i) {
            const EvoluteInstruction& each = instruction_of(needed_[i]);
            use(each.first, static_cast<std::int32_t>(i));
            if (each.second >= 0) use(each.second, static_cast<std::int32_t>(i));
        }
        use(goal_, static_cast<std::int32_t>(needed_.size()));
    }

    void find_streams() {
        for (const PlannedStep& step : plan_.steps) {
            for (const Place& place : {step.a, step.b, step.c}) {
                const bool known = std::any_of(
                    plan_.streams.begin(), plan_.streams.end(), [&](const Place& other) {
                        return other.kind == place.kind && other.index == place.index;
                    });
                if (is_stream(place) && !known) plan_.streams.push_back(place);
            }
        }
    }

    void use(std::int32_t value, std::int32_t at) {
        if (first_use_[value] < 0) first_use_[value] = at;
        last_use_[value] = at;
    }

    Place place_of(std::int32_t value) const {
        return value == running_ ? running() : places_[value];
    }

    void load(std::int32_t value) {
        PlannedStep step{Kind::load, places_[value], {}, {}};
        plan_.steps.push_back(step);
        running_ = value;
    }

    // Replaces an input by what a function makes of it, in a tile.
    void prepare(std::int32_t value, Opcode opcode, Place second) {
        PlannedStep step{Kind::function, places_[value], second, {}};
        step.opcode = opcode;
        plan_.steps.push_back(step);
        running_ = value;
        keep(value);
    }

    void keep(std::int32_t value) {
        std::int32_t tile = plan_.tiles;
        if (free_.empty()) {
            ++plan_.tiles;
        } else {
            tile = free_.back();
            free_.pop_back();
        }
        places_[value] = {Place::Kind::tile, tile};
        plan_.steps.push_back({Kind::store, {}, {}, places_[value]});
    }

    void add(std::size_t at) {
        const std::int32_t value = needed_[at];
        const EvoluteInstruction& each = instruction_of(value);
        const Opcode opcode = static_cast<Opcode>(each.opcode);
        if (!kernel_baseline().direct(opcode) && place_of(each.first).kind != Place::Kind::running) {
            load(each.first);
        }
        PlannedStep step{Kind::function, place_of(each.first), {}, {}};
        if (each.second >= 0) step.b = place_of(each.second);
        if (each.slot >= 0) step.c = {Place::Kind::slot, each.slot};
        step.opcode = opcode;
        step.instruction = value - program_.first_result();
        plan_.steps.push_back(step);
        release(each.first, at);
        if (each.second >= 0 && each.second != each.first) release(each.second, at);
        running_ = value;
        const std::int32_t next = static_cast<std::int32_t>(at) + 1;
        // Where the next step must load something else first, the running value would be lost.
        if (last_use_[value] > next || (first_use_[value] == next && is_lost(value, next))) {
            keep(value);
        }
    }

    bool is_lost(std::int32_t value, std::int32_t next) const {
        if (next >= static_cast<std::int32_t>(needed_.size())) return false;
        const EvoluteInstruction& reader = instruction_of(needed_[next]);
        return !kernel_baseline().direct(static_cast<Opcode>(reader.opcode)) &&
               reader.first != value;
    }

    void release(std::int32_t value, std::size_t at) {
        if (places_[value].kind == Place::Kind::tile &&
            last_use_[value] == static_cast<std::int32_t>(at)) {
            free_.push_back(places_[value].index);
        }
    }

    const EvoluteProgram& program_;
    const std::int32_t goal_;
    const bool maximize_, shrinks_;
    Plan& plan_;
    std::vector<Place> places_;
    std::vector<std::int32_t> needed_, first_use_, last_use_, free_;
    std::int32_t running_ = -1;
};

void find_numbers(EvoluteProgram& program) {
    program.is_number.assign(program.registers() + 1, 0);
    for (std::int32_t i = first_number_register; i < program.first_result(); ++i) {
        program.is_number[i] = 1;
    }
    for (std::size_t i = 0; i < program.instructions.size(); ++i) {
        const EvoluteInstruction& each = program.instructions[i];
        program.is_number[program.first_result() + i] =
            is_elementwise(static_cast<Opcode>(each.opcode)) && program.is_number[each.first] &&
            (each.second < 0 || program.is_number[each.second]);
    }
}

}  // namespace

static void make_passes(const EvoluteProgram& program, bool maximize, bool shrinks,
                        std::vector<Plan>& passes) {
    for (std::size_t i = 0; i < program.instructions.size(); ++i) {
        const EvoluteInstruction& each = program.instructions[i];
        if (static_cast<Opcode>(each.opcode) != Opcode::clip_norm) continue;
        Plan pass;
        pass.keeps_states = false;
        pass.norm_of = static_cast<std::int32_t>(i);
        Planner(program, each.first, maximize, shrinks, pass).make({Kind::add_squares, {}, {}, {}});
        passes.push_back(std::move(pass));
    }
    Plan last;
    PlannedStep end{Kind::apply, {Place::Kind::weight, 0}, {}, {}};
    if (program.momentum != Momentum::none) end.c = {Place::Kind::slot, program.slot_count};
    Planner(program, program.output, maximize, shrinks, last).make(end);
    passes.push_back(std::move(last));
}

void make_plans(EvoluteProgram& program) {
    find_numbers(program);
    for (const bool maximize : {false, true}) {
        for (const bool shrinks : {false, true}) {
            make_passes(program, maximize, shrinks, program.passes[maximize][shrinks]);
        }
    }
}

}  // namespace evolute
