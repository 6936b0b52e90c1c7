#include "pixfold/unfold.hpp"

#include "kernels.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

template <class Word>
void unfold_words(const UnfoldArguments& a, int threads) {
    const Word* images = static_cast<const Word*>(a.images);
    Word* out = static_cast<Word*>(a.out);
    const std::int64_t* pixel = a.pixel_of_feature;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (std::int64_t i = 0; i < a.n_samples; ++i) {
        const Word* image = images + i * a.n_pixels;
        Word* row = out + i * a.n_features;
        for (std::int64_t j = 0; j < a.n_features; ++j) {
            row[j] = pixel[j] >= 0 ? image[pixel[j]] : Word{0};
        }
    }
}

}  // namespace

void unfold(const UnfoldArguments& a, int threads) {
    switch (a.element_size) {
        case 1:
            return unfold_words<std::uint8_t>(a, threads);
        case 2:
            return unfold_words<std::uint16_t>(a, threads);
        case 4:
            return unfold_words<std::uint32_t>(a, threads);
        default:
            return unfold_words<std::uint64_t>(a, threads);
    }
}

}  // namespace pixfold::PIXFOLD_ISA
