// unfold_gradient: of one feature per pixel, values are moved, floats as by fold, halves through shared memory; else a
// thread adds up a pixel's features.
#include "elements.hpp"
#include "fold_shuffled.hpp"
#include "gather.hpp"
#include "pixels.hpp"
#include "pixfold/fold.hpp"
#include "pixfold/unfold_gradient.hpp"

namespace pixfold::cuda {
namespace {

struct FeatureOfPixel {
    Slots slots;

    __device__ std::int32_t of(std::int64_t pixel) const {
        const std::int32_t slot = slot_of(slots, pixel);
        return slot < 0 || slots.feature == nullptr ? slot : slots.feature[slot];
    }
};

template <class Word>
struct Adding {
    const Word* gradient;
    DType dtype;
    std::int64_t n_features;
    Slots slots;
    Word* out;
    Tiles tiles;
};

// Added in double, in the order of the slots, as on the CPU.
template <class Word, class C>
__global__ void __launch_bounds__(block_threads) add_features(const Adding<Word> a) {
    const std::int64_t n_pixels = a.slots.n_pixels;
    for (std::int64_t unit = blockIdx.x; unit < a.tiles.n_units; unit += gridDim.x) {
        const std::int64_t p = unit % a.tiles.n_tiles * block_threads + threadIdx.x;
        if (p >= n_pixels) {
            continue;
        }
        const Samples samples = samples_of(a.tiles, unit);
        const std::int32_t first = a.slots.first_slot[p];
        const std::int32_t end = a.slots.first_slot[p + 1];
        const auto feature_of = [&](std::int32_t k) { return a.slots.feature != nullptr ? a.slots.feature[k] : k; };
        for (std::int64_t i = samples.first; i < samples.end; ++i) {
            const Word* row = a.gradient + i * a.n_features;
            Word image{};
            if (end - first == 1) {
                image = row[feature_of(first)];
            } else if (end > first) {
                double sum = 0.0;
                for (std::int32_t k = first; k < end; ++k) {
                    sum += static_cast<double>(decode_one<C>(a.dtype, row[feature_of(k)]));
                }
                image = encode_one<Word>(a.dtype, sum);
            }
            a.out[i * n_pixels + p] = image;
        }
    }
}

template <class Word, class C>
void unfold_gradient_of(const FeatureGradient& g, const Slots& slots, Word* out, void* stream) {
    const Word* gradient = static_cast<const Word*>(g.data);
    if (slots.one_to_one) {
        const bool in_order = slots.feature == nullptr && slots.first_slot == nullptr;
        const Moving moving{g.data, out, g.n_samples, g.n_features, slots.n_pixels, nullptr, sizeof(Word), slots};
        if (!in_order && is_shuffled(moving)) {
            return move_shuffled(moving, stream);
        }
        gather(gradient, g.n_features, out, slots.n_pixels, g.n_samples, FeatureOfPixel{slots}, in_order, slots.n_slots,
               stream);
        return;
    }
    const Tiles tiles = tiles_of(slots.n_pixels, g.n_samples, block_threads, false);
    launch(add_features<Word, C>, blocks_for(tiles.n_units), block_threads, 0, stream,
           Adding<Word>{gradient, g.dtype, g.n_features, slots, out, tiles});
}

bool is_fold(const FeatureGradient& g, const Slots& slots) { return g.dtype == DType::f32 && slots.one_to_one; }

DenseView rows_of(const FeatureGradient& g) {
    constexpr std::int64_t element = sizeof(float);
    return {g.data, DType::f32, g.n_samples, g.n_features, g.n_features * element, element};
}

}  // namespace

std::int64_t unfold_gradient_workspace(const FeatureGradient& gradient, const Slots& slots, void* out) {
    return is_fold(gradient, slots) ? fold_dense_workspace(rows_of(gradient), slots, {}, {out, DType::f32}) : 0;
}

void unfold_gradient(const FeatureGradient& gradient, const Slots& slots, void* out, void* stream,
                     const Workspace& workspace) {
    if (gradient.n_samples == 0 || slots.n_pixels == 0) {
        return;
    }
    if (is_fold(gradient, slots)) {
        return fold_dense(rows_of(gradient), slots, {}, {out, DType::f32}, nullptr, stream, nullptr,
                          {nullptr, workspace});
    }
    with_float_storage(gradient.dtype, [&](auto storage) {
        using Word = typename decltype(storage)::Word;
        using C = typename decltype(storage)::Compute;
        unfold_gradient_of<Word, C>(gradient, slots, static_cast<Word*>(out), stream);
    });
}

}  // namespace pixfold::cuda
