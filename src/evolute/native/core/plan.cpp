// Turns a program into steps: what is computed in which order, and where each value lives.
//
// A value that only the next step reads stays in vector registers; one that a state holds, or that is
// an input times a number, is read from there; others get a scratch tile, which is given away again
// after their last reader. Of two arguments that one is computed first which needs no tile. A rule
// that clips by the norm is walked more than once: what one walk has computed, the states it moved
// included, the next takes over.
#include <algorithm>

#include "program.h"

namespace evolute {

namespace {

using Kind = PlannedStep::Kind;

Place running() { return {Place::Kind::running, 0}; }

// What an operation costs less than memory does: it is done anew in each walk.
bool is_cheap(Opcode opcode) {
    switch (opcode) {
        case Opcode::identity: case Opcode::neg: case Opcode::abs: case Opcode::square:
        case Opcode::sign: case Opcode::max0: case Opcode::min0: case Opcode::add: case Opcode::sub:
        case Opcode::mul: case Opcode::max: case Opcode::min: case Opcode::clip: case Opcode::mix:
            return true;
        default: return false;
    }
}

// Functions of many products and sums without a quotient, near 0 at least.
bool multiplies_much(Opcode opcode) {
    switch (opcode) {
        case Opcode::log: case Opcode::exp: case Opcode::erf: case Opcode::tanh:
        case Opcode::bessel_i1e:
            return true;
        default: return false;
    }
}

// Functions that divide, but the root.
bool divides_too(Opcode opcode) {
    switch (opcode) {
        case Opcode::sigmoid: case Opcode::dsoftsign: case Opcode::softplus: case Opcode::erfc:
        case Opcode::arcsinh: case Opcode::arctan: case Opcode::reciprocal: case Opcode::softsign:
        case Opcode::dtanh: case Opcode::dsigmoid: case Opcode::div: case Opcode::div_hypot:
        case Opcode::abs_pow: case Opcode::quotient: case Opcode::dropout:
            return true;
        default: return false;
    }
}

// Whether a function of −1, 0 and 1 has values there and nowhere else.
bool keeps_signs(Opcode opcode) {
    switch (opcode) {
        case Opcode::identity: case Opcode::neg: case Opcode::abs: case Opcode::square:
        case Opcode::sign: case Opcode::max0: case Opcode::min0: case Opcode::mul: case Opcode::max:
        case Opcode::min:
            return true;
        default: return false;
    }
}

// What the walks of a program have in common.
struct Course {
    const EvoluteProgram& program;
    const bool maximize, shrinks;
    std::vector<Place> places;  // of inputs, numbers, and what earlier walks have computed
    std::int32_t carried_count = 0;

    Course(const EvoluteProgram& of, bool maximize, bool shrinks)
        : program(of), maximize(maximize), shrinks(shrinks), places(of.registers()) {
        places[gradient_register] = {Place::Kind::gradient, 0};
        places[weight_register] = {Place::Kind::weight, 0};
        for (std::int32_t i = first_number_register; i < of.registers(); ++i) {
            if (of.is_number[i]) places[i] = {Place::Kind::number, i};
        }
    }

    bool is_known(std::int32_t value) const { return places[value].kind != Place::Kind::none; }

    const EvoluteInstruction& instruction_of(std::int32_t value) const {
        return program.instructions[value - program.first_result()];
    }
    Opcode opcode_of(std::int32_t value) const {
        return static_cast<Opcode>(instruction_of(value).opcode);
    }

    // Which values are to be computed, from what is known, for these.
    std::vector<char> needed_for(const std::vector<std::int32_t>& goals) const {
        std::vector<char> needed(program.registers(), 0);
        for (const std::int32_t goal : goals) needed[goal] = !is_known(goal);
        for (std::int32_t i = program.registers() - 1; i >= program.first_result(); --i) {
            if (!needed[i]) continue;
            const EvoluteInstruction& each = instruction_of(i);
            if (!is_known(each.first)) needed[each.first] = 1;
            if (each.second >= 0 && !is_known(each.second)) needed[each.second] = 1;
        }
        return needed;
    }

    // Which values are computed from inputs and numbers alone, by little work.
    std::vector<char> cheap() const {
        std::vector<char> found(program.registers(), 0);
        for (std::int32_t i = 0; i < program.registers(); ++i) {
            const Place::Kind kind = places[i].kind;
            found[i] = kind == Place::Kind::gradient || kind == Place::Kind::weight ||
                       kind == Place::Kind::number;
            if (found[i] || i < program.first_result()) continue;
            const EvoluteInstruction& each = instruction_of(i);
            found[i] = is_cheap(opcode_of(i)) && found[each.first] &&
                       (each.second < 0 || found[each.second]);
        }
        return found;
    }

    // Which of the values that a walk to the first goal computes are read by walks to the others.
    std::vector<char> left_by_first(const std::vector<std::int32_t>& goals) const {
        const std::vector<char> first = needed_for({goals[0]}), easy = cheap();
        std::vector<char> later(program.registers(), 0), left(program.registers(), 0);
        for (std::size_t i = 1; i < goals.size(); ++i) later[goals[i]] = 1;
        for (std::int32_t i = program.registers() - 1; i >= program.first_result(); --i) {
            if (!later[i] || is_known(i)) continue;
            if (first[i] && !easy[i]) {
                left[i] = 1;
                continue;
            }
            const EvoluteInstruction& each = instruction_of(i);
            later[each.first] = 1;
            if (each.second >= 0) later[each.second] = 1;
        }
        return left;
    }
};

// Makes the plan of one walk: the instructions that lead to `goal`, then its end.
class Planner {
   public:
    Planner(Course& course, std::int32_t goal, std::vector<char> left, Plan& plan)
        : course_(course), program_(course.program), goal_(goal), left_(std::move(left)),
          plan_(plan), places_(course.places) {}

    void make(PlannedStep end) {
        find_nodes();
        find_order();
        find_readers();
        if (course_.maximize && last_use_[gradient_register] >= 0) {
            prepare(gradient_register, Opcode::neg, {});
        }
        // The rule reads the weight after its decay.
        if (course_.shrinks && last_use_[weight_register] >= 0) {
            prepare(weight_register, Opcode::mul,
                    {Place::Kind::number, program_.shrink_register()});
        }
        find_divisions();
        for (std::size_t i = 0; i < order_.size(); ++i) add(i);
        if (end.kind == Kind::add_squares) {
            end.a = place_of(goal_);
        } else if (place_of(goal_).kind != Place::Kind::running) {
            load(goal_);
        }
        plan_.steps.push_back(end);
        for (std::int32_t i = program_.first_result(); i < program_.registers(); ++i) {
            if (left_[i]) course_.places[i] = places_[i];
        }
    }

   private:
    bool is_number(std::int32_t value) const { return program_.is_number[value]; }

    // An instruction to be run, or several as one.
    struct Node {
        std::int32_t value = -1, first = -1, second = -1;
        Opcode opcode = Opcode::count;  // `count` also of a product that a sum takes into itself
        std::int32_t factors[2] = {-1, -1};
        bool signs[2] = {false, false};  // of arguments of which the sign is read
        std::int32_t addend = -1;        // a number to be added to the denominator of a quotient
        bool is_scaled() const { return factors[0] >= 0 || factors[1] >= 0; }
        bool reads_signs() const { return signs[0] || signs[1]; }
    };

    struct Product {
        std::int32_t input = -1, number = -1;
    };

    bool is_node(std::int32_t value) const {
        return value >= 0 && nodes_[value].opcode != Opcode::count;
    }

    void find_nodes() {
        const std::vector<char> needed = course_.needed_for({goal_});
        nodes_.assign(program_.registers(), {});
        uses_.assign(program_.registers(), 0);
        uses_[goal_] = 1;
        for (std::int32_t i = program_.first_result(); i < program_.registers(); ++i) {
            if (!needed[i]) continue;
            const EvoluteInstruction& each = course_.instruction_of(i);
            nodes_[i] = {i, each.first, each.second, static_cast<Opcode>(each.opcode)};
            ++uses_[each.first];
            if (each.second >= 0) ++uses_[each.second];
            if (left_[i]) ++uses_[i];
        }
        for (Node& each : nodes_) take_products_in(each);
        products_.assign(program_.registers(), {});
        for (Node& each : nodes_) leave_to_readers(each);
        for (Node& each : nodes_) take_signs_in(each);
        for (Node& each : nodes_) take_sum_in(each);
    }

    // A product of an input and a number is not computed: its readers scale what they read.
    void leave_to_readers(Node& each) {
        if (each.opcode != Opcode::mul) return;
        const bool turned = is_number(each.first);
        const std::int32_t input = turned ? each.second : each.first;
        const std::int32_t number = turned ? each.first : each.second;
        if (input >= first_number_register || !is_number(number)) return;
        products_[each.value] = {input, number};
        each.opcode = Opcode::count;
    }

    // Where the memory of a value is that of an input: that input.
    std::int32_t source_of(std::int32_t value) const {
        return products_[value].input < 0 ? value : products_[value].input;
    }

    // A sum or a difference computes those of its terms that are products with a number and have
    // no other reader: the same roundings in fewer steps.
    void take_products_in(Node& sum) {
        if (sum.opcode != Opcode::add && sum.opcode != Opcode::sub) return;
        std::int32_t* const terms[] = {&sum.first, &sum.second};
        for (int side = 0; side < 2; ++side) {
            Node& each = nodes_[*terms[side]];
            if (each.opcode != Opcode::mul || uses_[each.value] != 1) continue;
            if (!is_number(each.first) && !is_number(each.second)) continue;
            sum.factors[side] = is_number(each.first) ? each.first : each.second;
            *terms[side] = is_number(each.first) ? each.second : each.first;
            each.opcode = Opcode::count;
        }
    }

    // A product, or a sum with a product, reads the signs of what its arguments are the signs of,
    // where these have no other reader.
    void take_signs_in(Node& reader) {
        if (reader.opcode != Opcode::mul && !reader.is_scaled()) return;
        if (reader.first == reader.second) return;
        std::int32_t* const arguments[] = {&reader.first, &reader.second};
        for (int side = 0; side < 2; ++side) {
            Node& each = nodes_[*arguments[side]];
            if (each.opcode != Opcode::sign || uses_[each.value] != 1) continue;
            if (source_of(each.first) != each.first) continue;
            reader.signs[side] = true;
            *arguments[side] = each.first;
            each.opcode = Opcode::count;
        }
    }

    // A quotient adds a number to its denominator where nothing else reads that sum.
    void take_sum_in(Node& quotient) {
        if (quotient.opcode != Opcode::quotient) return;
        Node& sum = nodes_[quotient.second];
        if (sum.opcode != Opcode::add || uses_[sum.value] != 1 || sum.is_scaled()) return;
        if (!is_number(sum.first) && !is_number(sum.second)) return;
        quotient.addend = is_number(sum.first) ? sum.first : sum.second;
        quotient.second = is_number(sum.first) ? sum.second : sum.first;
        sum.opcode = Opcode::count;
    }

    // Whether a reader needs but the sign of a value.
    bool sign_is_enough(const Node& reader, std::int32_t value) const {
        if (reader.opcode == Opcode::sign) return true;
        return (reader.first != value || reader.signs[0]) &&
               (reader.second != value || reader.signs[1]);
    }

    // Whether a value that is kept takes no tile more.
    bool is_kept_anyway(std::int32_t value) const {
        return uses_[value] > 1 || kept_by_state(value).kind != Place::Kind::none;
    }

    // Where a state holds the value of an instruction, if it does.
    Place kept_by_state(std::int32_t value) const {
        const Opcode opcode = course_.opcode_of(value);
        if (!is_stateful(opcode) || opcode == Opcode::previous) return {};
        if (opcode != Opcode::ema) return {Place::Kind::slot, course_.instruction_of(value).slot};
        return {Place::Kind::average, value - program_.first_result()};
    }

    // Arguments before what reads them, without recursion, as programs may be long.
    void find_order() {
        std::vector<char> placed(program_.registers(), 0);
        std::vector<std::int32_t> open;
        if (is_node(goal_)) open.push_back(goal_);
        while (!open.empty()) {
            const std::int32_t value = open.back();
            const Node& each = nodes_[value];
            const bool first = is_node(each.first) && !placed[each.first];
            const bool second = is_node(each.second) && !placed[each.second];
            if (placed[value] || (!first && !second)) {
                open.pop_back();
                if (!placed[value]) order_.push_back(value);
                placed[value] = 1;
            } else if (first && second) {
                const bool turned = is_kept_anyway(each.second) && !is_kept_anyway(each.first);
                open.push_back(turned ? each.second : each.first);
            } else {
                open.push_back(first ? each.first : each.second);
            }
        }
    }

    // The places in the order of the first and the last reader of each value: its length for the
    // goal.
    void find_readers() {
        first_use_.assign(program_.registers(), -1);
        last_use_.assign(program_.registers(), -1);
        for (std::size_t i = 0; i < order_.size(); ++i) {
            const Node& each = nodes_[order_[i]];
            use(each.first, static_cast<std::int32_t>(i));
            if (each.second >= 0) use(each.second, static_cast<std::int32_t>(i));
        }
        use(goal_, static_cast<std::int32_t>(order_.size()));
    }

    // Beside functions that multiply much the divider has time for all roots, if nothing divides.
    void find_divisions() {
        bool multiplies = false, divides = false;
        for (const std::int32_t value : order_) {
            multiplies |= multiplies_much(nodes_[value].opcode);
            divides |= divides_too(nodes_[value].opcode);
        }
        roots_are_divided_ = multiplies && !divides;
    }

    void use(std::int32_t read, std::int32_t at) {
        const std::int32_t value = source_of(read);
        if (first_use_[value] < 0) first_use_[value] = at;
        last_use_[value] = at;
    }

    Place place_of(std::int32_t value) const {
        if (value == running_) return running();
        Place place = places_[source_of(value)];
        if (source_of(value) != value) place.factor = products_[value].number;
        return place;
    }

    void load(std::int32_t value) {
        plan_.steps.push_back({Kind::load, place_of(value), {}, {}});
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
        if (value >= program_.first_result()) {
            places_[value] = kept_by_state(value);
            if (places_[value].kind != Place::Kind::none) return;
        }
        if (left_[value]) {
            places_[value] = {Place::Kind::carried, course_.carried_count++};
        } else if (free_.empty()) {
            places_[value] = {Place::Kind::tile, plan_.tiles++};
        } else {
            places_[value] = {Place::Kind::tile, free_.back()};
            free_.pop_back();
        }
        plan_.steps.push_back({Kind::store, {}, {}, places_[value]});
    }

    void add(std::size_t at) {
        const Node& each = nodes_[order_[at]];
        const EvoluteInstruction& instruction = course_.instruction_of(each.value);
        if (!kernel_baseline().direct(each.opcode) &&
            place_of(each.first).kind != Place::Kind::running) {
            load(each.first);
        }
        PlannedStep step{Kind::function, place_of(each.first), {}, {}};
        if (each.second >= 0) step.b = place_of(each.second);
        step.a.sign = each.signs[0];
        step.b.sign = each.signs[1];
        if (instruction.slot >= 0) step.c = {Place::Kind::slot, instruction.slot};
        step.opcode = each.opcode;
        step.instruction = each.value - program_.first_result();
        step.addend = each.addend;
        step.divided_root = each.opcode == Opcode::sqrt && roots_are_divided_;
        if (each.opcode == Opcode::mul && each.first == each.second && !each.reads_signs()) {
            // so that it is read once
            step.opcode = Opcode::square;
            step.b = {};
        }
        if (each.is_scaled()) {
            step.kind = Kind::scaled_sum;
            std::copy(each.factors, each.factors + 2, step.factors);
            step.minus = each.opcode == Opcode::sub;
        }
        if (program_.is_sign[each.first] && !kernel_baseline().direct(each.opcode) &&
            is_elementwise(each.opcode)) {
            step.kind = Kind::of_signs;
        }
        release(source_of(each.first), at);
        if (each.second >= 0 && source_of(each.second) != source_of(each.first)) {
            release(source_of(each.second), at);
        }
        const std::int32_t next = static_cast<std::int32_t>(at) + 1;
        // Where the next step must load something else first, the running value would be lost.
        step.value_is_read = first_use_[each.value] == next && !is_lost(each.value, next);
        step.sign_is_enough =
            step.value_is_read && at + 1 < order_.size() &&
            sign_is_enough(nodes_[order_[at + 1]], each.value);
        plan_.steps.push_back(step);
        running_ = step.value_is_read ? each.value : -1;
        if (last_use_[each.value] > next || !step.value_is_read || left_[each.value]) {
            keep(each.value);
        }
    }

    bool is_lost(std::int32_t value, std::int32_t next) const {
        if (next >= static_cast<std::int32_t>(order_.size())) return false;
        const Node& reader = nodes_[order_[static_cast<std::size_t>(next)]];
        return !kernel_baseline().direct(reader.opcode) && reader.first != value;
    }

    void release(std::int32_t value, std::size_t at) {
        if (places_[value].kind == Place::Kind::tile &&
            last_use_[value] == static_cast<std::int32_t>(at)) {
            free_.push_back(places_[value].index);
        }
    }

    Course& course_;
    const EvoluteProgram& program_;
    const std::int32_t goal_;
    const std::vector<char> left_;
    Plan& plan_;
    std::vector<Place> places_;
    std::vector<Node> nodes_;          // by their values
    std::vector<Product> products_;    // that are left to their readers, by their values
    std::vector<std::int32_t> order_;  // values of the nodes
    std::vector<std::int32_t> uses_, first_use_, last_use_, free_;
    std::int32_t running_ = -1;
    bool roots_are_divided_ = false;
};

void find_numbers_and_signs(EvoluteProgram& program) {
    program.is_number.assign(program.registers() + 1, 0);
    program.is_sign.assign(program.registers() + 1, 0);
    for (std::int32_t i = first_number_register; i < program.first_result(); ++i) {
        program.is_number[i] = 1;
    }
    for (std::size_t i = 0; i < program.instructions.size(); ++i) {
        const EvoluteInstruction& each = program.instructions[i];
        const Opcode opcode = static_cast<Opcode>(each.opcode);
        program.is_number[program.first_result() + i] =
            is_elementwise(opcode) && program.is_number[each.first] &&
            (each.second < 0 || program.is_number[each.second]);
        program.is_sign[program.first_result() + i] =
            opcode == Opcode::sign ||
            (keeps_signs(opcode) && program.is_sign[each.first] &&
             (each.second < 0 || program.is_sign[each.second]));
    }
}

// The walks of a program; returns how many values they carry.
std::int32_t make_passes(const EvoluteProgram& program, bool maximize, bool shrinks,
                         std::vector<Plan>& passes) {
    Course course(program, maximize, shrinks);
    std::vector<std::int32_t> goals;
    for (std::size_t i = 0; i < program.instructions.size(); ++i) {
        const EvoluteInstruction& each = program.instructions[i];
        if (static_cast<Opcode>(each.opcode) != Opcode::clip_norm) continue;
        Plan pass;
        pass.norm_of = static_cast<std::int32_t>(i);
        passes.push_back(pass);
        goals.push_back(each.first);
    }
    goals.push_back(program.output);
    for (Plan& pass : passes) {
        Planner(course, goals[0], course.left_by_first(goals), pass)
            .make({Kind::add_squares, {}, {}, {}});
        goals.erase(goals.begin());
    }
    Plan last;
    PlannedStep end{Kind::apply, {Place::Kind::weight, 0}, {}, {}};
    if (program.momentum != Momentum::none) end.c = {Place::Kind::slot, program.slot_count};
    Planner(course, program.output, std::vector<char>(program.registers(), 0), last).make(end);
    passes.push_back(std::move(last));
    return course.carried_count;
}

}  // namespace

void make_plans(EvoluteProgram& program) {
    find_numbers_and_signs(program);
    for (const bool maximize : {false, true}) {
        for (const bool shrinks : {false, true}) {
            std::vector<Plan>& passes = program.passes[maximize][shrinks];
            program.carried_count = std::max(
                program.carried_count, make_passes(program, maximize, shrinks, passes));
            for (const Plan& each : passes) {
                const auto steps = static_cast<std::int32_t>(each.steps.size());
                program.most_steps = std::max(program.most_steps, steps);
                program.most_tiles = std::max(program.most_tiles, each.tiles);
            }
        }
    }
}

}  // namespace evolute
