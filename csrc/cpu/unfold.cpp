#include "pixfold/unfold.hpp"

#include <cstring>

namespace pixfold::PIXFOLD_ISA {
namespace {

constexpr std::int64_t chunk_features = 16384;
constexpr std::int64_t far_image = std::int64_t{1} << 19;  // bytes: an image that L2 hardly holds beside all else
constexpr std::int64_t ahead_features = 256;

template <class Word>
void unfold_words(const UnfoldArguments& a, int threads) {
    const Word* images = static_cast<const Word*>(a.images);
    Word* out = static_cast<Word*>(a.out);
    const std::int32_t* pixel = a.pixel_of_feature;
    const bool far = a.n_pixels * static_cast<std::int64_t>(sizeof(Word)) > far_image;
    const std::int64_t n_chunks = (a.n_features + chunk_features - 1) / chunk_features;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (std::int64_t unit = 0; unit < a.n_samples * n_chunks; ++unit) {
        const std::int64_t i = unit / n_chunks;
        const std::int64_t first = unit % n_chunks * chunk_features;
        const std::int64_t n = a.n_features - first < chunk_features ? a.n_features - first : chunk_features;
        const Word* image = images + i * a.n_pixels;
        Word* row = out + i * a.n_features + first;
        if (a.identity) {
            std::memcpy(row, image + first, static_cast<std::size_t>(n) * sizeof(Word));
            continue;
        }
        std::int64_t j = 0;
        if (far) {
            // What is not in the caches near the processor is asked for well before it is read.
            const std::int64_t last = a.n_features - first - ahead_features;
            for (; j < (n < last ? n : last); ++j) {
                const std::int32_t next = pixel[first + j + ahead_features];
                const std::int32_t p = pixel[first + j];
                __builtin_prefetch(image + (next >= 0 ? next : 0), 0, 2);
                row[j] = p >= 0 ? image[p] : Word{0};
            }
        }
        for (; j < n; ++j) {
            const std::int32_t p = pixel[first + j];
            row[j] = p >= 0 ? image[p] : Word{0};
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
