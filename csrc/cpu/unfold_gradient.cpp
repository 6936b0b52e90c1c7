#include "pixfold/unfold_gradient.hpp"

#include "images.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

// One sample with several features on a pixel.
template <class T>
void add_features(const T* gradient, const SlotView& slots, T* image) {
    for (std::int64_t k = 0; k < slots.n_slots;) {
        const std::int32_t pixel = slots.pixel[k];
        const std::int64_t first = k;
        double sum = 0.0;
        for (; k < slots.n_slots && slots.pixel[k] == pixel; ++k) {
            sum += widen<double>(gradient[slots.feature[k]]);
        }
        if (k - first == 1) {
            image[pixel] = gradient[slots.feature[first]];
        } else {
            store(image + pixel, sum);
        }
    }
}

template <class T>
void unfold_gradient_of(const FeatureGradient& g, const SlotView& slots, T* out, int threads) {
    const T* gradient = static_cast<const T*>(g.data);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (std::int64_t i = 0; i < g.n_samples; ++i) {
        const T* row = gradient + i * g.n_features;
        T* image = out + i * slots.n_pixels;
        if (slots.n_slots < slots.n_pixels || !slots.one_to_one) {
            zero_pixels(image, 0, slots.n_pixels);
        }
        if (slots.one_to_one) {
            for (std::int64_t k = 0; k < slots.n_slots; ++k) {
                image[slots.pixel[k]] = row[slots.feature[k]];
            }
        } else {
            add_features(row, slots, image);
        }
    }
}

}  // namespace

void unfold_gradient(const FeatureGradient& gradient, const SlotView& slots, void* out, int threads) {
    switch (gradient.dtype) {
        case DType::f64:
            return unfold_gradient_of(gradient, slots, static_cast<double*>(out), threads);
        case DType::f16:
            return unfold_gradient_of(gradient, slots, static_cast<Half*>(out), threads);
        case DType::bf16:
            return unfold_gradient_of(gradient, slots, static_cast<BFloat*>(out), threads);
        default:
            return unfold_gradient_of(gradient, slots, static_cast<float*>(out), threads);
    }
}

}  // namespace pixfold::PIXFOLD_ISA
