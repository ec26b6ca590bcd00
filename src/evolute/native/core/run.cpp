// Runs jobs: makes the steps of a plan ready for the memory of a job, and walks them.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "floating.h"
#include "program.h"
#include "threads.h"
#include "workspace.h"

namespace evolute {

namespace {

// Norms are summed chunk by chunk, so that threads change nothing.
constexpr std::int64_t chunk = 1 << 14;
constexpr double largest_reciprocated = 0x1p100;
// Elements that are walked forward in one go, so that the processor sees where the memory goes on.
constexpr std::int64_t piece = 4 * chunk;
// A tensor of fewer elements than this is not worth a second thread.
constexpr std::int64_t worth_sharing = 1 << 15;
constexpr int most_threads = 256;

const Kernel* widest() {
#if defined(EVOLUTE_X86)
    if (evolute_supports("avx512")) return &kernel_avx512();
    if (evolute_supports("avx2")) return &kernel_avx2();
#endif
    return &kernel_baseline();
}

std::atomic<const Kernel*>& chosen() {
    static std::atomic<const Kernel*> kernel{widest()};
    return kernel;
}

// Of the threads that work for this one; the first is its own.
Workspaces& workspaces() {
    static thread_local Workspaces mine;
    return mine;
}

// What all elements of a job share: the numbers, norms once they are found, the averages' factors.
struct Shared {
    const EvoluteJob& job;
    const EvoluteProgram& program;
    const Kernel& kernel;
    std::vector<float>&numbers, &corrections;
    std::vector<double>& norms;
    // One row of `stride` floats for each value that walks carry.
    float* const carried;
    const std::int64_t stride;

    Shared(const EvoluteJob& of, Workspace& place)
        : job(of), program(*of.program), kernel(*chosen()), numbers(place.numbers),
          corrections(place.corrections), norms(place.norms), carried(place.carried.begin()),
          stride(stride_of(of)) {
        numbers.assign(program.registers() + 1, 0.0f);
        std::copy(program.constants.begin(), program.constants.end(),
                  numbers.begin() + first_number_register);
        for (std::int32_t i = 0; i < program.decay_count; ++i) {
            numbers[program.first_result() - program.decay_count + i] =
                static_cast<float>(job.decays[i]);
        }
        numbers[program.shrink_register()] = static_cast<float>(job.shrink);
        norms.assign(program.instructions.size(), 1.0);
        corrections.assign(program.instructions.size(), 1.0f);
        for (std::size_t i = 0; i < program.instructions.size(); ++i) {
            const EvoluteInstruction& each = program.instructions[i];
            if (program.is_number[program.first_result() + i]) evaluate(i);
            if (static_cast<Opcode>(each.opcode) == Opcode::ema) {
                const double power = std::pow(each.parameter, static_cast<double>(job.step + 1));
                corrections[i] = static_cast<float>(1.0 / (1.0 - power));
            }
        }
    }
    Shared(const Shared&) = delete;

    static std::int64_t stride_of(const EvoluteJob& job) {
        return (job.count + largest_tile - 1) / largest_tile * largest_tile;
    }

    void evaluate(std::size_t at) {
        const EvoluteInstruction& each = program.instructions[at];
        const float* second = each.second < 0 ? nullptr : &numbers[each.second];
        numbers[program.first_result() + at] =
            value_of(static_cast<Opcode>(each.opcode), &numbers[each.first], second);
    }

    // A function of numbers, by the handler of all others.
    float value_of(Opcode opcode, const float* first, const float* second) const {
        alignas(64) float result[largest_tile];
        Step steps[3] = {};
        steps[0].run = kernel.extra(Extra::load, Source::number);
        steps[0].a = first;
        const Source source = second == nullptr ? Source::running : Source::number;
        steps[1].run = kernel.function(opcode, Source::running, source);
        steps[1].b = second;
        steps[2].run = kernel.extra(Extra::end, Source::running);
        steps[2].c = result;
        kernel.walk(steps, 0, kernel.tile);
        return result[0];
    }
};

// Where the memory of a job, or of its last elements, begins.
struct Memory {
    float* weight;
    const float* gradient;
    float* const* slots;
    const double* const* noise;
    float* carried;
};

// Walks of one plan over parts of a job, on one thread.
class Walk {
   public:
    Walk(const Shared& shared, const Plan& plan, Workspace& place)
        : shared_(shared), plan_(plan), place_(place) {
        const EvoluteJob& job = shared.job;
        const Memory memory{job.weight, job.gradient, job.slots, job.noise, shared.carried};
        make_ready(memory, nullptr, place.steps);
    }
    Walk(const Walk&) = delete;  // its steps point to its sums

    // Walks the elements from ≤ i < to, and returns their sum of squares if it is a norm's walk.
    double run(std::int64_t from, std::int64_t to) {
        std::fill(std::begin(sums_), std::end(sums_), 0.0);
        const std::int64_t whole = (to - from) / shared_.kernel.tile * shared_.kernel.tile;
        if (whole > 0) walk(from, from + whole);
        if (from + whole < to) run_rest(from + whole, to - from - whole);
        for (int half = sums_of_squares / 2; half > 0; half /= 2) {
            for (int i = 0; i < half; ++i) sums_[i] += sums_[i + half];
        }
        return sums_[0];
    }

   private:
    void walk(std::int64_t from, std::int64_t to) const {
        if (squared_ == Source::memory || squared_ == Source::scaled) {
            shared_.kernel.walk_squares(squared_, place_.steps.data(), from, to);
        } else {
            shared_.kernel.walk(place_.steps.data(), from, to);
        }
    }

    // The last elements go through the same handlers, in tiles of their own.
    void run_rest(std::int64_t from, std::int64_t count) {
        const EvoluteJob& job = shared_.job;
        const std::int32_t buffers = shared_.program.buffers();
        float* tiles = place_.tiles.begin() + plan_.tiles * largest_tile;
        const std::size_t size = static_cast<std::size_t>(count) * sizeof(float);
        std::memset(tiles, 0, sizeof(float) * largest_tile * (3 + buffers));
        std::memcpy(tiles, job.weight + from, size);
        std::memcpy(tiles + largest_tile, job.gradient + from, size);
        std::vector<float*>& slots = place_.slots;
        slots.resize(buffers);
        for (std::int32_t i = 0; i < buffers; ++i) {
            slots[i] = tiles + (3 + i) * largest_tile;
            std::memcpy(slots[i], job.slots[i] + from, size);
        }
        std::vector<const double*>& noise = place_.noise_at;
        std::vector<double>& room = place_.noise;
        noise.resize(shared_.program.noise_count);
        room.assign(noise.size() * largest_tile, 0.0);
        for (std::size_t i = 0; i < noise.size(); ++i) {
            std::memcpy(&room[i * largest_tile], job.noise[i] + from, 2 * size);
            noise[i] = &room[i * largest_tile];
        }
        float* values = tiles + 2 * largest_tile;
        const Memory memory{tiles, tiles + largest_tile, slots.data(), noise.data(),
                            shared_.carried == nullptr ? nullptr : shared_.carried + from};
        make_ready(memory, values, place_.steps_of_rest);
        shared_.kernel.walk(place_.steps_of_rest.data(), 0, shared_.kernel.tile);
        std::memcpy(job.weight + from, tiles, size);
        for (std::int32_t i = 0; i < buffers; ++i) {
            std::memcpy(job.slots[i] + from, slots[i], size);
        }
        if (plan_.norm_of >= 0) add_squares(values, static_cast<int>(count));
    }

    // Adds the squares of the first elements of a tile.
    void add_squares(float* values, int count) {
        std::fill(values + count, values + largest_tile, 0.0f);
        Step step{};
        step.run = shared_.kernel.extra(Extra::add_squares, Source::memory);
        step.a = values;
        step.sums = sums_;
        shared_.kernel.walk(&step, 0, shared_.kernel.tile);
    }

    // The steps for this memory; `rest` is where the values of a norm go in a tile that is not full,
    // else null.
    void make_ready(const Memory& memory, float* rest, std::vector<Step>& steps) {
        steps.clear();
        for (const PlannedStep& each : plan_.steps) steps.push_back(ready(each, memory, rest));
    }

    Step ready(const PlannedStep& planned, const Memory& memory, float* rest) {
        Step step{};
        Operand a, b, c;
        argument(planned.a, memory, a);
        argument(planned.b, memory, b);
        argument(planned.c, memory, c);
        step.a = a.address, step.mask_a = a.mask, step.scale_a = a.scale;
        step.b = b.address, step.mask_b = b.mask, step.scale_b = b.scale;
        step.c = const_cast<float*>(c.address), step.mask_c = c.mask;
        const Kernel& kernel = shared_.kernel;
        switch (planned.kind) {
            case PlannedStep::Kind::function:
                step.run = planned.divided_root
                               ? kernel.extra(Extra::divided_root, a.source)
                               : kernel.function(planned.opcode, a.source, b.source);
                if (planned.instruction >= 0) add_parameters(planned, memory, a.source, step);
                break;
            case PlannedStep::Kind::of_signs: add_values_of_signs(planned.opcode, step); break;
            case PlannedStep::Kind::scaled_sum: add_sum(planned, a.source, b.source, step); break;
            case PlannedStep::Kind::load: step.run = kernel.extra(Extra::load, a.source); break;
            case PlannedStep::Kind::store: step.run = kernel.extra(Extra::store, a.source); break;
            case PlannedStep::Kind::add_squares:
                step.run = kernel.extra(rest == nullptr ? Extra::add_squares : Extra::end, a.source);
                step.c = rest;
                step.sums = sums_;
                if (plan_.steps.size() == 1) squared_ = a.source;
                break;
            case PlannedStep::Kind::apply:
                step.p = static_cast<float>(-shared_.job.rate);
                step.q = static_cast<float>(shared_.job.momentum);
                step.r = static_cast<float>(shared_.job.shrink);
                step.run = kernel.apply(shared_.program.momentum, step.r != 1.0f);
                break;
        }
        return step;
    }

    void add_values_of_signs(Opcode opcode, Step& step) const {
        const float minus_one = -1.0f, zero = 0.0f, one = 1.0f;
        const Extra extra = is_odd(opcode) ? Extra::odd_of_signs : Extra::of_signs;
        step.run = shared_.kernel.extra(extra, Source::running);
        step.p = shared_.value_of(opcode, &minus_one, nullptr);
        step.q = shared_.value_of(opcode, &zero, nullptr);
        step.r = shared_.value_of(opcode, &one, nullptr);
    }

    void add_sum(const PlannedStep& planned, Source a, Source b, Step& step) const {
        const std::int32_t p = planned.factors[0], q = planned.factors[1];
        Sum shape = p < 0 ? Sum::with_product : Sum::of_products;
        if (p >= 0) step.p = shared_.numbers[p];
        if (q >= 0) step.q = planned.minus ? -shared_.numbers[q] : shared_.numbers[q];
        if (q < 0) {  // the product is the first term
            shape = planned.minus ? Sum::from_product : Sum::with_product;
            std::swap(step.a, step.b);
            std::swap(step.mask_a, step.mask_b);
            std::swap(step.scale_a, step.scale_b);
            std::swap(a, b);
            step.q = step.p;
        } else if (p >= 0 && a == Source::memory && b == a && step.a == step.b) {
            shape = Sum::of_one;
        }
        step.run = shared_.kernel.sum(shape, a, b);
    }

    void add_parameters(const PlannedStep& planned, const Memory& memory, Source source,
                        Step& step) const {
        const EvoluteInstruction& each = shared_.program.instructions[planned.instruction];
        switch (planned.opcode) {
            case Opcode::ema:
            case Opcode::ema_raw:
                step.p = static_cast<float>(each.parameter);
                step.q = static_cast<float>(1.0 - each.parameter);
                step.r = shared_.corrections[planned.instruction];
                // A product with 1 changes nothing, and one that nobody reads is not needed.
                // Corrections are at least 1 and change no sign.
                if (step.r == 1.0f || !planned.value_is_read || planned.sign_is_enough) {
                    step.run = shared_.kernel.function(Opcode::ema_raw, source, Source::running);
                }
                break;
            case Opcode::dropout:
                step.noise = memory.noise[each.noise];
                step.mask_b = -1;
                step.number = each.parameter;
                step.r = static_cast<float>(1.0 - each.parameter);
                break;
            case Opcode::quotient:
                // Denominators of −0 are of 0: what is not 0 itself, added, makes no −0.
                if (planned.addend >= 0) step.q = shared_.numbers[planned.addend] + 0.0f;
                break;
            case Opcode::clip_norm:
                add_norm(shared_.norms[planned.instruction], step);
                break;
            default: break;
        }
    }

    // Products with the reciprocal are exact enough, and several times as fast as quotients, where
    // it is no denormal number.
    void add_norm(double norm, Step& step) const {
        step.number = norm;
        if (norm == 1.0) {
            step.run = shared_.kernel.extra(Extra::load, Source::running);
        } else if (norm < largest_reciprocated) {
            const double reciprocal = 1.0 / norm;
            step.p = static_cast<float>(reciprocal);
            if (step.p > reciprocal) step.p = std::nextafter(step.p, 0.0f);
            step.q = static_cast<float>(reciprocal - step.p);
            step.run = shared_.kernel.extra(Extra::scale, Source::running);
        }
    }

    // An argument of a step as the kernel knows it.
    struct Operand {
        Source source = Source::running;
        const float* address = nullptr;
        std::ptrdiff_t mask = -1;
        float scale = 1.0f;
    };

    void argument(const Place& place, const Memory& memory, Operand& operand) const {
        if (place.kind == Place::Kind::none) return;
        if (place.kind == Place::Kind::running) {
            if (place.sign) operand.source = Source::running_sign;
            return;
        }
        operand.source = place.sign ? Source::memory_sign : Source::memory;
        switch (place.kind) {
            case Place::Kind::gradient: operand.address = memory.gradient; break;
            case Place::Kind::weight: operand.address = memory.weight; break;
            case Place::Kind::slot: operand.address = memory.slots[place.index]; break;
            case Place::Kind::average:
                operand.address = memory.slots[shared_.program.instructions[place.index].slot];
                operand.scale = shared_.corrections[place.index];
                if (operand.scale != 1.0f && !place.sign) operand.source = Source::scaled;
                break;
            case Place::Kind::carried:
                operand.address = memory.carried + place.index * shared_.stride;
                break;
            case Place::Kind::tile:
                operand.address = place_.tiles.begin() + place.index * largest_tile;
                operand.mask = 0;
                break;
            default:
                operand.address = &shared_.numbers[place.index];
                operand.source = Source::number;
        }
        if (place.factor >= 0) {
            operand.source = Source::scaled;
            operand.scale = shared_.numbers[place.factor];
        }
    }

    const Shared& shared_;
    const Plan& plan_;
    Workspace& place_;
    Source squared_ = Source::running;  // what the only step squares, where there is but one
    double sums_[sums_of_squares];
};

// Threads that work for one caller, each in a place of its own.
struct Crew {
    const std::unique_ptr<Workspace>* places;
    int size;

    Workspace& place() const { return *places[0]; }

    // Calls work(member, i) once for each 0 ≤ i < tasks; a member is a crew of one.
    template <class Work>
    void share_out(std::int64_t tasks, const Work& work) const {
        std::atomic<std::int64_t> next{0};
        const auto take = [&](std::int64_t member) {
            for (std::int64_t i = next++; i < tasks; i = next++) work(Crew{places + member, 1}, i);
        };
        if (size == 1 || tasks == 1) return take(0);
        try {
            in_parallel(size, size, take);
        } catch (const std::bad_alloc&) {  // no thread could be made, and nothing is done
            take(0);
        }
    }
    std::int64_t tasks() const { return size > 1 ? 4 * size : 1; }  // some threads may be slower
};

std::int64_t chunks_of(const EvoluteJob& job) { return (job.count + chunk - 1) / chunk; }

void find_norm(Shared& shared, const Plan& plan, const Crew& crew) {
    const std::int64_t count = shared.job.count, chunks = chunks_of(shared.job);
    std::vector<double>& sums = crew.place().sums;
    sums.resize(static_cast<std::size_t>(chunks));
    const std::int64_t tasks = crew.tasks();
    crew.share_out(tasks, [&](const Crew& member, std::int64_t task) {
        Walk walk(shared, plan, member.place());
        for (std::int64_t i = chunks * task / tasks; i < chunks * (task + 1) / tasks; ++i) {
            sums[static_cast<std::size_t>(i)] = walk.run(i * chunk, std::min(count, (i + 1) * chunk));
        }
    });
    double sum = 0.0;
    for (const double each : sums) sum += each;
    const double norm = std::sqrt(sum);
    shared.norms[plan.norm_of] = norm <= 1.0 ? 1.0 : norm;  // NaN stays
}

void move_weight(Shared& shared, const Plan& plan, bool backward, const Crew& crew) {
    const std::int64_t tasks = crew.tasks();
    const std::int64_t tiles = (shared.job.count + largest_tile - 1) / largest_tile;
    const std::int64_t part = (tiles + tasks - 1) / tasks * largest_tile;
    crew.share_out(tasks, [&](const Crew& member, std::int64_t task) {
        const std::int64_t from = task * part, to = std::min(shared.job.count, from + part);
        if (from >= to) return;
        Walk walk(shared, plan, member.place());
        const std::int64_t pieces = (to - from + piece - 1) / piece;
        for (std::int64_t i = 0; i < pieces; ++i) {
            const std::int64_t begin = from + (backward ? pieces - 1 - i : i) * piece;
            walk.run(begin, std::min(to, begin + piece));
        }
    });
}

void move_job(const EvoluteJob& job, const Crew& crew) {
    if (job.count <= 0) return;
    Shared shared(job, crew.place());
    const bool shrinks = shared.numbers[shared.program.shrink_register()] != 1.0f;
    const std::vector<Plan>& plans = shared.program.passes[job.maximize != 0][shrinks];
    for (const Plan& plan : plans) {
        if (plan.norm_of >= 0) {
            find_norm(shared, plan, crew);
        } else {
            // Every other walk goes from the last piece to the first: what was touched last is still
            // in the caches.
            move_weight(shared, plan, plans.size() > 1, crew);
        }
    }
}

// One call: its jobs, and the memory that they need beside their own.
class Run {
   public:
    Run(const EvoluteJob* jobs, const std::int64_t* rows, std::int64_t count, int threads)
        : jobs_(jobs), rows_(rows), count_(count), threads_(std::clamp(threads, 1, most_threads)) {}

    // Throws std::bad_alloc. Nothing has moved yet, and nothing is asked for later.
    void reserve() {
        Needs all;
        const EvoluteProgram* last = nullptr;
        std::size_t most_carried = 0, most_carried_small = 0;
        for (std::int64_t i = 0; i < count_; ++i) {
            const EvoluteJob& each = job(i);
            if (each.count <= 0) continue;
            if (each.program != last) all.include(*each.program);
            last = each.program;
            if (each.program->carried_count > 0) {
                const std::size_t carried = static_cast<std::size_t>(each.program->carried_count) *
                                            static_cast<std::size_t>(Shared::stride_of(each));
                std::size_t& most = is_small(each) ? most_carried_small : most_carried;
                most = std::max(most, carried);
            }
            all.chunks = std::max(all.chunks, static_cast<std::size_t>(chunks_of(each)));
            elements_of_small_ += is_small(each) ? each.count : 0;
        }
        while (places_.size() < static_cast<std::size_t>(threads_)) {
            places_.push_back(std::make_unique<Workspace>());
        }
        for (int i = 0; i < threads_; ++i) {
            all.carried = i == 0 ? std::max(most_carried, most_carried_small) : most_carried_small;
            places_[static_cast<std::size_t>(i)]->reserve(all);
        }
    }

    // Large tensors one after the other, each by all threads; then small ones, each by one.
    void move() const {
        const Crew everyone{places_.data(), threads_};
        if (threads_ > 1) {
            for (std::int64_t i = 0; i < count_; ++i) {
                if (!is_small(job(i))) move_job(job(i), everyone);
            }
        }
        const int used = elements_of_small_ >= worth_sharing ? threads_ : 1;
        const Crew some{places_.data(), used};
        some.share_out(count_, [&](const Crew& member, std::int64_t i) {
            if (is_small(job(i))) move_job(job(i), member);
        });
    }

    void forget_much() const {
        for (const std::unique_ptr<Workspace>& each : places_) each->forget_much();
    }

   private:
    const EvoluteJob& job(std::int64_t i) const { return jobs_[rows_ == nullptr ? i : rows_[i]]; }
    bool is_small(const EvoluteJob& job) const { return threads_ == 1 || job.count < worth_sharing; }

    const EvoluteJob* jobs_;
    const std::int64_t* rows_;
    const std::int64_t count_;
    const int threads_;
    std::int64_t elements_of_small_ = 0;
    Workspaces& places_ = workspaces();
};

}  // namespace

}  // namespace evolute

using namespace evolute;

std::int32_t evolute_abi() { return 2; }

std::int32_t evolute_supports(const char* path) {
    if (std::strcmp(path, "baseline") == 0) return 1;
#if defined(EVOLUTE_X86)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (std::strcmp(path, "avx2") == 0) return avx2;
    if (std::strcmp(path, "avx512") == 0) {
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    }
#endif
    return 0;
}

std::int32_t evolute_choose(const char* path) {
    if (!evolute_supports(path)) return 0;
    const Kernel* kernel = &kernel_baseline();
#if defined(EVOLUTE_X86)
    if (std::strcmp(path, "avx2") == 0) kernel = &kernel_avx2();
    if (std::strcmp(path, "avx512") == 0) kernel = &kernel_avx512();
#endif
    chosen().store(kernel);
    return 1;
}

std::int64_t evolute_run(const EvoluteJob* jobs, const std::int64_t* rows, std::int64_t count,
                         std::int32_t threads) {
    try {
        Run run(jobs, rows, count, threads);
        run.reserve();
        const AsIeee as_ieee;
        run.move();
        run.forget_much();
        return 0;
    } catch (const std::bad_alloc&) {
        return count;
    }
}
