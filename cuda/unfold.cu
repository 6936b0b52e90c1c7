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

}  // namespace

void unfold(const UnfoldArguments& a, void* stream) {
    if (a.n_samples == 0 || a.n_features == 0) {
        return;
    }
    const Moving moving{a.images, a.out, a.n_samples, a.n_pixels, a.n_features, a.pixel_of_feature};
    if (a.element_size == 4 && !a.identity && is_shuffled(moving)) {
        move_shuffled(moving, stream);
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
