// Cross-entropy of each lane with its gradient, and the share of right answers.
//
// One lane follows the other, each row by the same instructions on its own numbers.

#include "layers_dispatch.h"
#include "layers_vector.h"
#include "layers_works.h"

namespace {

typedef std::int64_t Int;

// Scores [lanes, rows, classes] and the class wanted of each row; ctypes builds it
// (lanes/native_layers.py).
struct Entropy {
    Int lanes, rows, classes;
    Int target_stride;  // numbers from one lane's targets to the next; 0 where they share them
    Int ignored;        // the class that leaves a row out
    const float* x;
    const std::int64_t* targets;
    float* losses;    // [lanes], the mean over the rows counted
    float* gradient;  // of each lane's loss, as x
};

// The scores of W rows, class by class: rows of ten classes fill no vector, classes of W rows do.
// Rows past `here` are zeros.
template <int W>
EVOLUTE_INLINE void turn(const float* x, Int here, Int classes, float* to) {
    for (Int row = 0; row < here; ++row) {
        for (Int c = 0; c < classes; ++c) to[c * W + row] = x[row * classes + c];
    }
    for (Int row = here; row < W; ++row) {
        for (Int c = 0; c < classes; ++c) to[c * W + row] = 0.0f;
    }
}

// Makes softmax times `factor` of scores turned; writes the largest of each row and its class (the
// first of equal ones, NaN counting as the largest, as torch's argmax has it), and
// Σ exp(score − largest).
template <int W>
EVOLUTE_INLINE void softmax(float* turned, Int classes, float factor, float* most,
                            std::int32_t* best, float* sum) {
    typedef typename Vector<W>::Floats Floats;
    typedef typename Vector<W>::Ints Ints;
    // Every comparison decides one selection alone: of one that decides two, GCC takes the vector
    // apart, number by number.
    Floats largest = load<W>(turned), poison = {};
    for (Int c = 0; c < classes; ++c) {
        const Floats value = load<W>(turned + c * W);
        largest = value > largest ? value : largest;
        poison = value == value ? poison : value;
    }
    Ints first = {}, first_poison = {};
    for (Int c = classes; c-- > 0;) {
        const Floats value = load<W>(turned + c * W);
        const Ints place = Ints{} + static_cast<std::int32_t>(c);
        first = value == largest ? place : first;
        first_poison = value == value ? first_poison : place;
    }
    first = poison == poison ? first : first_poison;
    largest += poison;
    Floats sums = {};
    for (Int c = 0; c < classes; ++c) {
        const Floats power = exponential<W>(load<W>(turned + c * W) - largest);
        store<W>(turned + c * W, power);
        sums += power;
    }
    const Floats share = factor / sums;
    for (Int c = 0; c < classes; ++c) store<W>(turned + c * W, load<W>(turned + c * W) * share);
    store<W>(most, largest);
    std::memcpy(best, &first, sizeof first);
    store<W>(sum, sums);
}

// The first `count` numbers of a vector, the rest 0.
template <int W>
EVOLUTE_INLINE typename Vector<W>::Floats tail(typename Vector<W>::Floats x, Int count) {
    typename Vector<W>::Ints order;
    for (int i = 0; i < W; ++i) order[i] = i;
    return order < static_cast<std::int32_t>(count) ? x : typename Vector<W>::Floats{};
}

// What the rows seen so far came to.
struct Seen {
    double loss;
    Int right;
};

// W rows at a time, class by class.
template <int W>
EVOLUTE_INLINE void turned_rows(const EntropyRows& work, Seen& seen) {
    std::vector<float> turned(work.classes * W);
    for (Int first = 0; first < work.rows; first += W) {
        const Int here = work.rows - first < W ? work.rows - first : W;
        const Int at = first * work.classes;
        float most[W], sum[W];
        std::int32_t best[W];
        turn<W>(work.x + at, here, work.classes, turned.data());
        softmax<W>(turned.data(), work.classes, work.factor, most, best, sum);
        double powers = 1.0;  // one logarithm of their product in place of many
        for (Int row = 0; row < here; ++row) {
            const std::int64_t target = work.targets[first + row];
            const bool counts = target != work.ignored;
            float* gradient = work.gradient + at + row * work.classes;
            if (counts) {
                for (Int c = 0; c < work.classes; ++c) gradient[c] = turned[c * W + row];
            } else {
                for (Int c = 0; c < work.classes; ++c) gradient[c] = 0.0f;
            }
            seen.right += best[row] == target;
            if (counts) {
                gradient[target] -= work.factor;
                seen.loss +=
                    static_cast<double>(most[row]) - work.x[at + row * work.classes + target];
                powers *= sum[row];
            }
        }
        seen.loss += std::log(powers);
    }
}

// Whether the target is the first of the largest scores, NaN counting as the largest.
EVOLUTE_INLINE bool is_right(const float* x, Int classes, std::int64_t target) {
    if (target < 0 || target >= classes) return false;  // left out, whatever number says so
    const float own = x[target];
    bool right = true;
    for (Int c = 0; c < target; ++c) right &= x[c] < own || (own != own && x[c] == x[c]);
    if (own != own) return right;
    for (Int c = target + 1; c < classes; ++c) right &= x[c] <= own;
    return right;
}

constexpr Int many_classes = 32;  // from here on rows fill vectors well enough
constexpr Int most_factors = 8;   // sums of up to 2^128 each: their product is a finite double

// One row after the other, W classes at a time.
template <int W>
EVOLUTE_INLINE void wide_rows(const EntropyRows& work, Seen& seen) {
    typedef typename Vector<W>::Floats Floats;
    const Int whole = work.classes / W * W, wide = (work.classes + W - 1) / W * W;
    std::vector<float> row(wide, -__builtin_inff()), powers(wide);
    double product = 1.0;
    Int factors = 0;
    for (Int r = 0; r < work.rows; ++r) {
        const float* x = work.x + r * work.classes;
        float* gradient = work.gradient + r * work.classes;
        const std::int64_t target = work.targets[r];
        seen.right += is_right(x, work.classes, target);
        if (target == work.ignored) {
            for (Int c = 0; c < work.classes; ++c) gradient[c] = 0.0f;
            continue;
        }
        std::memcpy(row.data(), x, work.classes * sizeof(float));
        Floats largest = load<W>(row.data());
        for (Int c = W; c < wide; c += W) {
            const Floats value = load<W>(&row[c]);
            largest = value > largest ? value : largest;
        }
        const float most = largest_of<W>(largest);
        Floats sums = {};
        for (Int c = 0; c < wide; c += W) {
            const Floats value = load<W>(&row[c]);
            const Floats power = exponential<W>(value - most);
            store<W>(&powers[c], power);
            sums += c < whole ? power : tail<W>(power, work.classes - c);
        }
        const float sum = total<W>(sums);
        const float share = work.factor / sum;
        for (Int c = 0; c < whole; c += W) store<W>(gradient + c, load<W>(&powers[c]) * share);
        for (Int c = whole; c < work.classes; ++c) gradient[c] = powers[c] * share;
        gradient[target] -= work.factor;
        seen.loss += static_cast<double>(most) - x[target];
        product *= sum;
        if (++factors == most_factors) {  // one logarithm of their product in place of many
            seen.loss += std::log(product);
            product = 1.0;
            factors = 0;
        }
    }
    seen.loss += std::log(product);
}

template <int W>
EVOLUTE_INLINE void some_rows(const EntropyRows& work) {
    Seen seen = {0.0, 0};
    if (work.classes < many_classes) turned_rows<W>(work, seen);
    else wide_rows<W>(work, seen);
    *work.loss += seen.loss;
    *work.right += seen.right;
}

EVOLUTE_DISPATCH(some_rows, EntropyRows)

}  // namespace

void entropy_rows(const EntropyRows& work) { some_rows_any(work); }

Int counted_targets(const std::int64_t* targets, Int rows, Int classes, Int ignored) {
    Int counted = 0;
    for (Int row = 0; row < rows; ++row) {
        if (targets[row] == ignored) continue;
        if (targets[row] < 0 || targets[row] >= classes) return -1;
        ++counted;
    }
    return counted;
}

// Returns 0; or 1 where a target is no class: then the lanes from its own on are not written.
EVOLUTE_EXPORT std::int32_t evolute_cross_entropy(const Entropy* work) {
    Int counted = 0;
    for (Int lane = 0; lane < work->lanes; ++lane) {
        const std::int64_t* targets = work->targets + lane * work->target_stride;
        if (lane == 0 || work->target_stride != 0) {
            counted = counted_targets(targets, work->rows, work->classes, work->ignored);
        }
        if (counted < 0) return 1;
        const Int at = lane * work->rows * work->classes;
        double loss = 0.0;
        Int right = 0;
        entropy_rows({work->rows, work->classes, work->ignored,
                      1.0f / static_cast<float>(counted), work->x + at, targets,
                      work->gradient + at, &loss, &right});
        work->losses[lane] = static_cast<float>(loss / static_cast<double>(counted));
    }
    return 0;
}

// Writes to losses the share of rows whose largest score is that of the target: the first of equal
// ones, NaN counting as the largest, as torch's argmax has it.
EVOLUTE_EXPORT void evolute_accuracy(const Entropy* work) {
    for (Int lane = 0; lane < work->lanes; ++lane) {
        const std::int64_t* targets = work->targets + lane * work->target_stride;
        Int right = 0;
        for (Int row = 0; row < work->rows; ++row) {
            const float* x = work->x + (lane * work->rows + row) * work->classes;
            Int best = 0;
            float most = x[0];
            for (Int c = 1; c < work->classes && most == most; ++c) {
                if (!(x[c] <= most)) {
                    best = c;
                    most = x[c];
                }
            }
            right += best == targets[row];
        }
        work->losses[lane] = static_cast<float>(right) / static_cast<float>(work->rows);
    }
}
