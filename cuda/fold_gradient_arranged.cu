#include "fold_gradient_arranged.hpp"
#include "fold_gradient_natural.hpp"
#include "fold_shuffled.hpp"
#include "launch.hpp"
#include "tiles.hpp"

namespace pixfold::cuda {
namespace {

constexpr std::int64_t element = sizeof(float);

// What the L2 of a data-centre GPU holds beside what passes through it.
constexpr std::int64_t kept_bytes = std::int64_t{32} << 20;

// Parameters in the order of the slots, or of the features; null where the formula has none.
struct Ordered {
    const float* from[3];
    float* to[3];
};

__global__ void __launch_bounds__(block_threads)
    order_by_feature(const Ordered parameters, const std::int32_t* slot_of_feature, const std::int64_t n_features) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * block_threads;
    for (std::int64_t j = blockIdx.x * std::int64_t{block_threads} + threadIdx.x; j < n_features; j += stride) {
        const std::int64_t slot = slot_of_feature != nullptr ? slot_of_feature[j] : j;
        for (int k = 0; k < 3; ++k) {
            if (parameters.from[k] != nullptr) {
                parameters.to[k][j] = parameters.from[k][slot];
            }
        }
    }
}

// Rows of floats in scratch memory, each part of it on a 16-byte boundary.
std::int64_t floats_of(std::int64_t n) { return (n + 3) / 4 * 4; }

std::int64_t pixel_bytes(const FoldGradientArguments& a) { return a.gradient.dtype == DType::f32 ? 4 : 2; }

Moving moving_of(const FoldGradientArguments& a, std::int64_t first, std::int64_t n, float* to) {
    const std::int64_t pixel = pixel_bytes(a);
    const auto* gradient = static_cast<const char*>(a.gradient.data) + first * a.slots.n_pixels * pixel;
    return {gradient, to, n, a.slots.n_pixels, a.x.n_features, a.pixel_of_feature, pixel};
}

}  // namespace

bool fits_arranged_gradient(const FoldGradientArguments& a) {
    return a.x.dtype == DType::f32 && a.x.feature_stride == element && a.parameters.normalise &&
           a.parameters.row_scale == nullptr && a.slots.one_to_one && a.slots.n_slots == a.x.n_features &&
           a.pixel_of_feature != nullptr && fits_shuffled(moving_of(a, 0, a.x.n_samples, nullptr));
}

bool is_arranged_gradient(const FoldGradientArguments& a) {
    return fits_arranged_gradient(a) && is_shuffled(moving_of(a, 0, a.x.n_samples, nullptr));
}

std::int64_t arranged_gradient_scratch(const FoldGradientArguments& a, std::int64_t n_samples) {
    const std::int64_t row = a.x.n_features * pixel_bytes(a);
    const std::int64_t held = kept_bytes / row;
    const std::int64_t rows = n_samples < held ? n_samples : held;
    return 3 * floats_of(a.x.n_features) * element + (rows > 1 ? rows : 1) * row;
}

void fold_gradient_arranged(const FoldGradientArguments& a, void* stream) {
    const std::int64_t n_features = a.x.n_features;
    auto* scratch = static_cast<float*>(a.scratch.data);
    const void** given[3] = {};
    FoldGradientArguments part = a;
    given[0] = &part.parameters.offset;
    given[1] = &part.parameters.shift;
    given[2] = &part.parameters.scale;
    Ordered ordered{};
    for (int k = 0; k < 3; ++k) {
        if (*given[k] != nullptr) {
            ordered.from[k] = static_cast<const float*>(*given[k]);
            ordered.to[k] = scratch + k * floats_of(n_features);
            *given[k] = ordered.to[k];
        }
    }
    launch(order_by_feature, blocks_for((n_features + block_threads - 1) / block_threads), block_threads, 0, stream,
           ordered, a.slot_of_feature, n_features);
    float* moved = scratch + 3 * floats_of(n_features);
    const std::int64_t rows = (a.scratch.bytes - 3 * floats_of(n_features) * element) / (n_features * pixel_bytes(a));
    part.slots = Slots{nullptr, nullptr, n_features, n_features, true};
    part.slot_of_feature = nullptr;
    part.pixel_of_feature = nullptr;
    part.gradient.data = moved;
    for (std::int64_t first = 0; first < a.x.n_samples; first += rows) {
        const std::int64_t n = a.x.n_samples - first < rows ? a.x.n_samples - first : rows;
        move_shuffled(moving_of(a, first, n, moved), stream);
        part.x.data = static_cast<const char*>(a.x.data) + first * a.x.sample_stride;
        part.x.n_samples = n;
        part.out = static_cast<float*>(a.out) + first * n_features;
        fold_gradient_natural(part, stream);
    }
}

}  // namespace pixfold::cuda
