// Runs jobs: makes the steps of a plan ready for the memory of a job, and walks them.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

#include "program.h"
#include "threads.h"

namespace evolute {

namespace {

// Norms are summed chunk by chunk, so that threads change nothing.
constexpr std::int64_t chunk = 4096;
constexpr float infinity = std::numeric_limits<float>::infinity();
// Memory of so many bytes is not in the caches near the processor, and is asked for ahead.
constexpr std::int64_t far_away = 4 << 20;
// A tensor of fewer elements than this is not worth a second thread.
constexpr std::int64_t worth_sharing = 1 << 15;

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

// Memory of one thread; it grows and is kept.
struct Workspace {
    std::vector<float> scratch;
    std::vector<double> noise;

    // The first `tiles` scratch tiles, aligned to a line of the cache.
    float* tiles(std::size_t count) {
        const std::size_t room = count * largest_tile + 16;
        if (scratch.size() < room) scratch.resize(room);
        const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(scratch.data());
        return reinterpret_cast<float*>((address + 63) & ~static_cast<std::uintptr_t>(63));
    }
};

Workspace& workspace() {
    static thread_local Workspace mine;
    return mine;
}

// What all elements of a job share: the numbers, norms once they are found, the averages' factors.
struct Shared {
    const EvoluteJob& job;
    const EvoluteProgram& program;
    const Kernel& kernel;
    std::vector<float> numbers;
    std::vector<double> norms;
    std::vector<float> corrections;

    explicit Shared(const EvoluteJob& of) : job(of), program(*of.program), kernel(*chosen()) {
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

    // Computes a value that is one number for all elements, with the handler of all others.
    void evaluate(std::size_t at) {
        const EvoluteInstruction& each = program.instructions[at];
        const Opcode opcode = static_cast<Opcode>(each.opcode);
        alignas(64) float result[largest_tile];
        Step steps[3] = {};
        steps[0].run = kernel.extra(Extra::load, Source::number);
        steps[0].a = &numbers[each.first];
        const Source second = each.second < 0 ? Source::running : Source::number;
        steps[1].run = kernel.function(opcode, Source::running, second, true);
        if (each.second >= 0) steps[1].b = &numbers[each.second];
        steps[2].run = kernel.extra(Extra::end, Source::running);
        steps[2].c = result;
        kernel.walk(steps, 0, kernel.tile, {});
        numbers[program.first_result() + at] = result[0];
    }
};

// Where the memory of a job, or of its last elements, begins.
struct Memory {
    float* weight;
    const float* gradient;
    float* const* slots;
    const double* const* noise;
};

// Walks of one plan over parts of a job, on one thread.
class Walk {
   public:
    Walk(const Shared& shared, const Plan& plan) : shared_(shared), plan_(plan) {
        const EvoluteJob& job = shared.job;
        const Memory memory{job.weight, job.gradient, job.slots, job.noise};
        steps_ = ready(memory, nullptr);
        const std::int64_t arrays = static_cast<std::int64_t>(plan.streams.size());
        if (4 * arrays * job.count < far_away) return;
        for (const Place& place : plan.streams) {
            const float* from = nullptr;
            std::ptrdiff_t mask;
            argument(place, memory, from, mask);
            streams_.push_back(from);
        }
    }
    Walk(const Walk&) = delete;  // its steps point to its sums

    // Walks the elements from ≤ i < to, and returns their sum of squares if it is a norm's walk.
    double run(std::int64_t from, std::int64_t to) {
        std::fill(std::begin(sums_), std::end(sums_), 0.0);
        const std::int64_t whole = (to - from) / shared_.kernel.tile * shared_.kernel.tile;
        if (whole > 0) shared_.kernel.walk(steps_.data(), from, from + whole, streams_);
        if (from + whole < to) run_rest(from + whole, to - from - whole);
        double sum = 0.0;
        for (const double each : sums_) sum += each;
        return sum;
    }

   private:
    // The last elements go through the same handlers, in tiles of their own.
    void run_rest(std::int64_t from, std::int64_t count) {
        const EvoluteJob& job = shared_.job;
        const std::int32_t buffers = shared_.program.buffers();
        float* tiles = workspace().tiles(plan_.tiles + 3 + buffers) + plan_.tiles * largest_tile;
        const std::size_t size = static_cast<std::size_t>(count) * sizeof(float);
        std::memset(tiles, 0, sizeof(float) * largest_tile * (3 + buffers));
        std::memcpy(tiles, job.weight + from, size);
        std::memcpy(tiles + largest_tile, job.gradient + from, size);
        std::vector<float*> slots(buffers);
        for (std::int32_t i = 0; i < buffers; ++i) {
            slots[i] = tiles + (3 + i) * largest_tile;
            std::memcpy(slots[i], job.slots[i] + from, size);
        }
        std::vector<const double*> noise(shared_.program.noise_count);
        std::vector<double>& room = workspace().noise;
        room.assign(noise.size() * largest_tile, 0.0);
        for (std::size_t i = 0; i < noise.size(); ++i) {
            std::memcpy(&room[i * largest_tile], job.noise[i] + from, 2 * size);
            noise[i] = &room[i * largest_tile];
        }
        float* values = tiles + 2 * largest_tile;
        const Memory memory{tiles, tiles + largest_tile, slots.data(), noise.data()};
        shared_.kernel.walk(ready(memory, values).data(), 0, shared_.kernel.tile, {});
        if (plan_.keeps_states) {
            std::memcpy(job.weight + from, tiles, size);
            for (std::int32_t i = 0; i < buffers; ++i) {
                std::memcpy(job.slots[i] + from, slots[i], size);
            }
        } else {
            add_squares(values, static_cast<int>(count));
        }
    }

    // Adds the squares of the first elements of a tile.
    void add_squares(float* values, int count) {
        std::fill(values + count, values + largest_tile, 0.0f);
        Step steps[2] = {};
        steps[0].run = shared_.kernel.extra(Extra::load, Source::memory);
        steps[0].a = values;
        steps[1].run = shared_.kernel.extra(Extra::add_squares, Source::running);
        steps[1].sums = sums_;
        shared_.kernel.walk(steps, 0, shared_.kernel.tile, {});
    }

    // The steps for this memory; `rest` is where the values of a norm go in a tile that is not full,
    // else null.
    std::vector<Step> ready(const Memory& memory, float* rest) {
        tiles_ = workspace().tiles(plan_.tiles + 3 + shared_.program.buffers());
        std::vector<Step> steps;
        steps.reserve(plan_.steps.size());
        for (const PlannedStep& each : plan_.steps) steps.push_back(ready(each, memory, rest));
        return steps;
    }

    Step ready(const PlannedStep& planned, const Memory& memory, float* rest) {
        Step step{};
        const Source a = argument(planned.a, memory, step.a, step.mask_a);
        const Source b = argument(planned.b, memory, step.b, step.mask_b);
        const float* place = nullptr;
        argument(planned.c, memory, place, step.mask_c);
        step.c = const_cast<float*>(place);
        const Kernel& kernel = shared_.kernel;
        switch (planned.kind) {
            case PlannedStep::Kind::function:
                step.run = kernel.function(planned.opcode, a, b, plan_.keeps_states);
                if (planned.instruction >= 0) add_parameters(planned, memory, step);
                break;
            case PlannedStep::Kind::scaled_sum:
                step.run = kernel.scaled_sum(a, b);
                step.p = factor(planned.factors[0]);
                step.q = planned.minus ? -factor(planned.factors[1]) : factor(planned.factors[1]);
                break;
            case PlannedStep::Kind::load: step.run = kernel.extra(Extra::load, a); break;
            case PlannedStep::Kind::store: step.run = kernel.extra(Extra::store, a); break;
            case PlannedStep::Kind::add_squares:
                step.run = kernel.extra(rest == nullptr ? Extra::add_squares : Extra::end, a);
                step.c = rest;
                step.sums = sums_;
                break;
            case PlannedStep::Kind::apply:
                step.run = kernel.apply(shared_.program.momentum);
                step.p = static_cast<float>(-shared_.job.rate);
                step.q = static_cast<float>(shared_.job.momentum);
                step.r = static_cast<float>(shared_.job.shrink);
                break;
        }
        return step;
    }

    float factor(std::int32_t number) const { return number < 0 ? 1.0f : shared_.numbers[number]; }

    void add_parameters(const PlannedStep& planned, const Memory& memory, Step& step) const {
        const EvoluteInstruction& each = shared_.program.instructions[planned.instruction];
        switch (planned.opcode) {
            case Opcode::ema:
            case Opcode::ema_raw:
                step.p = static_cast<float>(each.parameter);
                step.q = static_cast<float>(1.0 - each.parameter);
                step.r = shared_.corrections[planned.instruction];
                break;
            case Opcode::dropout:
                step.noise = memory.noise[each.noise];
                step.mask_b = -1;
                step.number = each.parameter;
                step.r = static_cast<float>(1.0 - each.parameter);
                break;
            case Opcode::clip_norm:
                step.number = shared_.norms[planned.instruction];
                step.r = static_cast<float>(step.number);
                if (step.r < infinity) step.run = shared_.kernel.extra(Extra::divide, Source::running);
                break;
            default: break;
        }
    }

    Source argument(const Place& place, const Memory& memory, const float*& address,
                    std::ptrdiff_t& mask) const {
        mask = -1;
        switch (place.kind) {
            case Place::Kind::gradient: address = memory.gradient; break;
            case Place::Kind::weight: address = memory.weight; break;
            case Place::Kind::slot: address = memory.slots[place.index]; break;
            case Place::Kind::tile:
                address = tiles_ + place.index * largest_tile;
                mask = 0;
                break;
            case Place::Kind::number:
                address = &shared_.numbers[place.index];
                return Source::number;
            default: return Source::running;
        }
        return Source::memory;
    }

    const Shared& shared_;
    const Plan& plan_;
    std::vector<Step> steps_;
    std::vector<const float*> streams_;
    double sums_[sums_of_squares];
    float* tiles_ = nullptr;
};

void find_norm(Shared& shared, const Plan& plan, int threads) {
    const std::int64_t count = shared.job.count;
    const std::int64_t chunks = (count + chunk - 1) / chunk;
    std::vector<double> sums(static_cast<std::size_t>(chunks));
    const std::int64_t tasks = threads > 1 ? 4 * threads : 1;
    in_parallel(threads, tasks, [&](std::int64_t task) {
        Walk walk(shared, plan);
        for (std::int64_t i = chunks * task / tasks; i < chunks * (task + 1) / tasks; ++i) {
            sums[static_cast<std::size_t>(i)] = walk.run(i * chunk, std::min(count, (i + 1) * chunk));
        }
    });
    double sum = 0.0;
    for (const double each : sums) sum += each;
    const double norm = std::sqrt(sum);
    shared.norms[plan.norm_of] = norm <= 1.0 ? 1.0 : norm;  // NaN stays
}

void run_job(const EvoluteJob& job, int threads) {
    if (job.count <= 0) return;
    Shared shared(job);
    const bool shrinks = shared.numbers[shared.program.shrink_register()] != 1.0f;
    for (const Plan& plan : shared.program.passes[job.maximize != 0][shrinks]) {
        if (plan.norm_of >= 0) {
            find_norm(shared, plan, threads);
            continue;
        }
        const std::int64_t tasks = threads > 1 ? 4 * threads : 1;  // some threads may be slower
        const std::int64_t tiles = (job.count + largest_tile - 1) / largest_tile;
        const std::int64_t part = (tiles + tasks - 1) / tasks * largest_tile;
        in_parallel(threads, tasks, [&](std::int64_t i) {
            const std::int64_t from = i * part, to = std::min(job.count, from + part);
            if (from < to) Walk(shared, plan).run(from, to);
        });
    }
}

}  // namespace

}  // namespace evolute

using namespace evolute;

std::int32_t evolute_abi() { return 1; }

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

void evolute_run(const EvoluteJob* jobs, const std::int64_t* rows, std::int64_t count,
                 std::int32_t threads) {
    const auto job = [&](std::int64_t i) -> const EvoluteJob& {
        return jobs[rows == nullptr ? i : rows[i]];
    };
    if (threads <= 1) {
        for (std::int64_t i = 0; i < count; ++i) run_job(job(i), 1);
        return;
    }
    // Large tensors one after the other, each by all threads; then small ones, each by one.
    std::vector<std::int64_t> small;
    for (std::int64_t i = 0; i < count; ++i) {
        if (job(i).count >= worth_sharing) {
            run_job(job(i), threads);
        } else {
            small.push_back(i);
        }
    }
    std::int64_t elements = 0;
    for (const std::int64_t i : small) elements += job(i).count;
    const int used = elements >= worth_sharing ? threads : 1;
    in_parallel(used, static_cast<std::int64_t>(small.size()), [&](std::int64_t i) {
        run_job(job(small[static_cast<std::size_t>(i)]), 1);
    });
}
