#include "fold_interleaved.hpp"
#include "fold_shuffled.hpp"
#include "gather.hpp"
#include "pixfold/unfold.hpp"

namespace pixfold::cuda {
namespace {

struct PixelOfFeature {
    const std::int32_t* pixel;

    __device__ std::int32_t of(std::int64_t feature) const { return pixel[feature]; }
};

template <class Word>
void unfold_words(const UnfoldArguments& a, void* stream) {
    gather(static_cast<const Word*>(a.images), a.n_pixels, static_cast<Word*>(a.out), a.n_features, a.n_samples,
           PixelOfFeature{a.pixel_of_feature}, a.identity, a.n_features, stream);
}

// Words of 4 bytes out of their order are moved as a fold without a normaliser moves them: features are pixels here.
bool moves_floats(const UnfoldArguments& a) { return a.element_size == 4 && !a.identity; }

DenseView rows_of(const UnfoldArguments& a) {
    return {a.images, DType::f32, a.n_samples, a.n_pixels, a.n_pixels * 4, 4};
}

Slots slots_of(const UnfoldArguments& a) { return {a.pixel_of_feature, nullptr, a.n_features, a.n_features, true}; }

}  // namespace

std::int64_t unfold_workspace(const UnfoldArguments& a) {
    return moves_floats(a) ? fold_dense_workspace(rows_of(a), slots_of(a), {}, {a.out, DType::f32}) : 0;
}

void unfold(const UnfoldArguments& a, void* stream, const Workspace& workspace) {
    if (a.n_samples == 0 || a.n_features == 0) {
        return;
    }
    const Moving moving{a.images, a.out, a.n_samples, a.n_pixels, a.n_features, a.pixel_of_feature, a.element_size};
    if (!a.identity && is_shuffled(moving)) {
        move_shuffled(moving, stream);
        return;
    }
    const FoldOutput out{a.out, DType::f32};
    if (workspace.bytes > 0 && moves_floats(a) && is_interleaved(rows_of(a), slots_of(a), {}, out, nullptr)) {
        fold_interleaved(rows_of(a), slots_of(a), {}, out, nullptr, stream, nullptr, {nullptr, workspace});
        return;
    }
    switch (a.element_size) {
        case 1:
            return unfold_words<std::uint8_t>(a, stream);
        case 2:
            return unfold_words<std::uint16_t>(a, stream);
        case 4:
            return unfold_words<std::uint32_t>(a, stream);
        default:
            return unfold_words<std::uint64_t>(a, stream);
    }
}

}  // namespace pixfold::cuda
