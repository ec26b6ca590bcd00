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
        for (std::size_t i = 0; i < needed_.size(); ++i) {
            if (needed_[i].opcode != Opcode::count) add(i);
        }
        if (place_of(goal_).kind != Place::Kind::running) load(goal_);
        plan_.steps.push_back(end);
        find_streams();
    }

   private:
    bool is_number(std::int32_t value) const { return program_.is_number[value]; }

    const EvoluteInstruction& instruction_of(std::int32_t value) const {
        return program_.instructions[value - program_.first_result()];
    }

    // An instruction to be run, or several as one.
    struct Node {
        std::int32_t value, first, second;
        Opcode opcode;  // `count` of a product that a sum takes into itself
        std::int32_t factors[2] = {-1, -1};
        bool is_scaled() const { return factors[0] >= 0 || factors[1] >= 0; }
    };

    // The instructions to run, as nodes in order, and the places in that list of the first and the
    // last reader of each value: its length for the goal.
    void find_needed() {
        std::vector<std::int32_t> uses(program_.registers(), 0);
        uses[goal_] = 1;
        for (std::int32_t i = program_.registers() - 1; i >= program_.first_result(); --i) {
            if (uses[i] == 0 || is_number(i)) continue;
            const EvoluteInstruction& each = instruction_of(i);
            needed_.push_back({i, each.first, each.second, static_cast<Opcode>(each.opcode)});
            ++uses[each.first];
            if (each.second >= 0) ++uses[each.second];
        }
        std::reverse(needed_.begin(), needed_.end());
        for (Node& each : needed_) take_products_in(each, uses);
        first_use_.assign(program_.registers(), -1);
        last_use_.assign(program_.registers(), -1);
        for (std::size_t i = 0; i < needed_.size(); ++i) {
            if (needed_[i].opcode == Opcode::count) continue;
            use(needed_[i].first, static_cast<std::int32_t>(i));
            if (needed_[i].second >= 0) use(needed_[i].second, static_cast<std::int32_t>(i));
        }
        use(goal_, static_cast<std::int32_t>(needed_.size()));
    }

    // A sum or a difference computes those of its terms that are products with a number and have
    // no other reader: the same roundings in fewer steps.
    void take_products_in(Node& sum, const std::vector<std::int32_t>& uses) {
        if (sum.opcode != Opcode::add && sum.opcode != Opcode::sub) return;
        std::int32_t* const terms[] = {&sum.first, &sum.second};
        for (int side = 0; side < 2; ++side) {
            const std::int32_t term = *terms[side];
            for (Node& each : needed_) {
                if (each.value != term || each.opcode != Opcode::mul || uses[term] != 1) continue;
                if (!is_number(each.first) && !is_number(each.second)) continue;
                sum.factors[side] = is_number(each.first) ? each.first : each.second;
                *terms[side] = is_number(each.first) ? each.second : each.first;
                each.opcode = Opcode::count;
            }
        }
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
        const Node& each = needed_[at];
        const EvoluteInstruction& instruction = instruction_of(each.value);
        if (!kernel_baseline().direct(each.opcode) &&
            place_of(each.first).kind != Place::Kind::running) {
            load(each.first);
        }
        PlannedStep step{Kind::function, place_of(each.first), {}, {}};
        if (each.second >= 0) step.b = place_of(each.second);
        if (instruction.slot >= 0) step.c = {Place::Kind::slot, instruction.slot};
        step.opcode = each.opcode;
        step.instruction = each.value - program_.first_result();
        if (each.is_scaled()) {
            step.kind = Kind::scaled_sum;
            std::copy(each.factors, each.factors + 2, step.factors);
            step.minus = each.opcode == Opcode::sub;
        }
        plan_.steps.push_back(step);
        release(each.first, at);
        if (each.second >= 0 && each.second != each.first) release(each.second, at);
        running_ = each.value;
        const std::int32_t next = following(at);
        // Where the next step must load something else first, the running value would be lost.
        if (last_use_[each.value] > next ||
            (first_use_[each.value] == next && is_lost(each.value, next))) {
            keep(each.value);
        }
    }

    // Place of the next node that is run by itself.
    std::int32_t following(std::size_t at) const {
        do ++at;
        while (at < needed_.size() && needed_[at].opcode == Opcode::count);
        return static_cast<std::int32_t>(at);
    }

    bool is_lost(std::int32_t value, std::int32_t next) const {
        if (next >= static_cast<std::int32_t>(needed_.size())) return false;
        return !kernel_baseline().direct(needed_[next].opcode) && needed_[next].first != value;
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
    std::vector<Node> needed_;
    std::vector<std::int32_t> first_use_, last_use_, free_;
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
