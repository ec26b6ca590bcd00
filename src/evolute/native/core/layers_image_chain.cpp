// A chain of layers on images: forward, cross-entropy and backward of a whole network in one call.
//
// One lane follows the other, each through all layers and back in the same memory, which so stays in
// the cache. What a lane computes depends on its own numbers and on the shapes alone.

#include "layers_image_chain.h"

#include "layers_works.h"

namespace {

using namespace image_chain;

// One lane on its way through the chain.
class Lane {
  public:
    Lane(const Chain& chain, Int lane) : chain_(chain), lane_(lane) {}

    void forward(const Operation& each) const {
        if (each.kind == count) {  // which writes no value
            static_cast<std::int64_t*>(chain_.held[each.weight].numbers)[slot()] += each.number;
            return;
        }
        float* out = value(each.out);
        switch (each.kind) {
            case convolve:
                return convolved(each, out);
            case normalise:
                return normalised(each, out);
            case activate:
                return run_activate({each.number, size(each.out), value(each.inputs[0]), nullptr,
                                     out});
            case add:
                return plus({size(each.out), value(each.inputs[0]), value(each.inputs[1]), out});
            case average:
                return take_mean({pixels(each.inputs[0]), size(each.out), value(each.inputs[0]),
                                  out});
            case rows:
                return unpack_images(turned(each, value(each.inputs[0]), out));
            case drop:
                return times({size(each.out), value(each.inputs[0]), mask(each), out});
            case linear: {
                const Linear work = mapped(each);
                return evolute_linear(&work);
            }
        }
    }

    void backward(const Operation& each) const {
        if (each.kind == count) return;
        const float* given = chain_.scratch + each.slope;
        float* first = slope_of(each, 0);
        switch (each.kind) {
            case convolve:
                convolved_back(each, given);
                break;
            case normalise:
                normalised_back(each, given);
                break;
            case activate: {
                const Int at = each.number == 1 ? each.out : each.inputs[0];
                run_activate({each.number, size(each.out), value(at), given, first});
                break;
            }
            case add:
                for (int i = 0; i < 2; ++i) {
                    if (slope_of(each, i) == nullptr || slope_of(each, i) == given) continue;
                    std::memcpy(slope_of(each, i), given, size(each.out) * sizeof(float));
                }
                break;
            case average:
                for (Int p = 0; p < (each.spread ? 1 : pixels(each.inputs[0])); ++p) {
                    spread_mean({pixels(each.inputs[0]), size(each.out), given,
                                 first + p * size(each.out)});
                }
                break;
            case rows:
                pack_images(turned(each, given, first));
                break;
            case drop:
                times({size(each.out), given, mask(each), first});
                break;
            case linear: {
                Linear work = mapped(each);
                work.gradient = given;
                work.x_gradient = first;
                work.weight_gradient = gradient(each.weight);
                work.bias_gradient = gradient(each.bias);
                evolute_linear(&work);
                break;
            }
        }
        for (int i = 0; i < 2; ++i) {
            if (each.sums[i] < 0) continue;
            float* to = chain_.scratch + each.sums[i];
            plus({size(each.inputs[i]), to, slope_of(each, i), to});
        }
    }

    // Finds the loss and the share of right answers; writes the gradient of the scores.
    void measure(Int counted) const {
        double loss = 0.0;
        Int right = 0;
        entropy_rows({chain_.examples, chain_.classes, chain_.ignored,
                      1.0f / static_cast<float>(counted), value(chain_.output),
                      chain_.targets[lane_], chain_.scratch + chain_.output_slope, &loss, &right});
        chain_.losses[lane_] = static_cast<float>(loss / static_cast<double>(counted));
        chain_.right[lane_] = static_cast<float>(right) / static_cast<float>(chain_.examples);
    }

  private:
    Int slot() const { return chain_.slots[lane_]; }
    float* value(Int at) const { return chain_.scratch + chain_.values[at].at; }
    Int pixels(Int at) const { return chain_.values[at].height * chain_.values[at].width; }
    Int size(Int at) const { return pixels(at) * chain_.values[at].channels * chain_.examples; }

    float* slope_of(const Operation& each, int input) const {
        return each.slopes[input] < 0 ? nullptr : chain_.scratch + each.slopes[input];
    }

    const float* mask(const Operation& each) const {
        return chain_.masks[lane_ * chain_.masks_count + each.number];
    }

    float* held(Int at) const {
        if (at < 0) return nullptr;
        return static_cast<float*>(chain_.held[at].numbers) + slot() * chain_.held[at].size;
    }

    float* gradient(Int at) const {
        if (at < 0 || chain_.held[at].gradient == nullptr) return nullptr;
        return chain_.held[at].gradient + slot() * chain_.held[at].size;
    }

    Turn turned(const Operation& each, const float* from, float* to) const {
        const Int image = each.inputs[0];
        return {chain_.examples, chain_.values[image].channels, pixels(image), from, to};
    }

    Shape shape(const Operation& each) const {
        const Value& from = chain_.values[each.inputs[0]];
        const Value& to = chain_.values[each.out];
        return {1, chain_.examples, from.channels, from.height, from.width,
                to.channels, to.height, to.width,
                each.kernel_height, each.kernel_width, each.stride_height, each.stride_width,
                each.padding_height, each.padding_width, 0};
    }

    void convolved(const Operation& each, float* out) const {
        const Shape own = shape(each);
        evolute_convolve(&own, value(each.inputs[0]), held(each.weight), out);
        if (each.bias < 0) return;
        add_bias({pixels(each.out), own.outputs, own.examples, out, held(each.bias)});
    }

    // The gradient of the input is written last, perhaps where the input was.
    void convolved_back(const Operation& each, const float* given) const {
        const Shape own = shape(each);
        evolute_convolve_weight_gradient(&own, value(each.inputs[0]), given,
                                         gradient(each.weight));
        if (each.bias >= 0) {
            sum_bias({pixels(each.out), own.outputs, own.examples, const_cast<float*>(given),
                      gradient(each.bias)});
        }
        if (slope_of(each, 0) == nullptr) return;
        evolute_convolve_input_gradient(&own, given, held(each.weight), slope_of(each, 0));
    }

    // Mean, variance and deviation of the batch are kept one after the other.
    Norm norm(const Operation& each, const float* given, float* out) const {
        const Int channels = chain_.values[each.out].channels;
        float* kept = chain_.scratch + each.extra;
        return {each.number, 1, pixels(each.out), channels, chain_.examples,
                each.spread ? 0 : channels * chain_.examples, each.epsilon,
                value(each.inputs[0]), given, out, held(each.weight), held(each.bias),
                kept, kept + channels, kept + 2 * channels, gradient(each.weight),
                gradient(each.bias)};
    }

    void normalised(const Operation& each, float* out) const {
        const Norm work = norm(each, nullptr, out);
        evolute_norm_images(&work);
        if (each.mean < 0) return;
        const double size = static_cast<double>(work.pixels * work.examples);
        const double few = size > 1.0 ? size - 1.0 : 1.0;
        move(each.mean, work.mean, work.channels, each.momentum, each.momentum);
        move(each.variance, work.variance, work.channels, each.momentum,
             each.momentum * size / few);
    }

    void move(Int at, const float* found, Int channels, double share, double weight) const {
        float* running = held(at);
        const float rest = static_cast<float>(1.0 - share), by = static_cast<float>(weight);
        for (Int c = 0; c < channels; ++c) running[c] = running[c] * rest + found[c] * by;
    }

    void normalised_back(const Operation& each, const float* given) const {
        const Norm work = norm(each, given, slope_of(each, 0));
        evolute_norm_images(&work);
    }

    Linear mapped(const Operation& each) const {
        return {1, chain_.examples, chain_.values[each.inputs[0]].channels,
                chain_.values[each.out].channels, each.number, 0, 0, value(each.inputs[0]),
                held(each.weight), held(each.bias), nullptr, value(each.out), nullptr, nullptr,
                nullptr, nullptr};
    }

    const Chain& chain_;
    const Int lane_;
};

}  // namespace

// Returns 0; or 1 where the lane whose turn it is has a target that is no class.
EVOLUTE_EXPORT std::int32_t evolute_image_chain(const Chain* work) {
    const Chain& chain = *work;
    const Value& first = chain.values[0];
    const float* packed = nullptr;
    for (Int index = 0; index < chain.lanes; ++index) {
        const Int counted = counted_targets(chain.targets[index], chain.examples, chain.classes,
                                            chain.ignored);
        if (counted < 0) return 1;
        if (chain.inputs[index] != packed) {
            packed = chain.inputs[index];
            pack_images({chain.examples, first.channels, first.height * first.width, packed,
                         chain.scratch + first.at});
        }
        const Lane lane(chain, index);
        for (Int o = 0; o < chain.operations_count; ++o) lane.forward(chain.operations[o]);
        lane.measure(counted);
        for (Int o = chain.operations_count - 1; o >= 0; --o) lane.backward(chain.operations[o]);
    }
    return 0;
}
