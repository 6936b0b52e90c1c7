// unfold: a thread takes a few features of a group of samples, and knows their pixels from one load.
#include "launch.hpp"
#include "tiles.hpp"
#include "unfold.hpp"

namespace pixfold::cuda {
namespace {

constexpr int at_once = 4;  // samples whose loads are in flight together

template <class Word>
struct Unfolding {
    const Word* images;
    Word* out;
    const std::int32_t* pixel;  // null: feature j is at pixel j
    std::int64_t n_pixels;
    bool whole_images;  // images can be read several words at a time
    Tiles tiles;
};

template <class Word, int width>
__global__ void __launch_bounds__(block_threads) unfold_tiles(const Unfolding<Word> a) {
    const std::int64_t n_features = a.tiles.n_columns;
    for (std::int64_t unit = blockIdx.x; unit < a.tiles.n_units; unit += gridDim.x) {
        const Columns<width> columns(a.tiles, unit);
        const Samples samples = samples_of(a.tiles, unit);
        std::int32_t pixel[items];
        if (a.pixel != nullptr) {
            for (int k = 0; k < items; ++k) {
                pixel[k] = columns.at(k) < n_features ? a.pixel[columns.at(k)] : -1;
            }
        }
        for (std::int64_t i = samples.first; i < samples.end; i += at_once) {
            Word value[at_once][items];
#pragma unroll
            for (int u = 0; u < at_once; ++u) {
                if (i + u >= samples.end) {
                    continue;
                }
                const Word* image = a.images + (i + u) * a.n_pixels;
                if (a.pixel != nullptr) {
#pragma unroll
                    for (int k = 0; k < items; ++k) {
                        value[u][k] = pixel[k] >= 0 ? image[pixel[k]] : Word{0};
                    }
                } else if (width == 1 || a.whole_images) {
                    columns.load_once(image, n_features, value[u]);
                } else {
#pragma unroll
                    for (int k = 0; k < items; ++k) {
                        value[u][k] = columns.at(k) < n_features ? image[columns.at(k)] : Word{0};
                    }
                }
            }
#pragma unroll
            for (int u = 0; u < at_once; ++u) {
                if (i + u < samples.end) {
                    columns.store_once(a.out + (i + u) * n_features, n_features, value[u]);
                }
            }
        }
    }
}

template <class Word>
void unfold_words(const UnfoldArguments& a, void* stream) {
    constexpr auto size = static_cast<std::int64_t>(sizeof(Word));
    const Tiles tiles =
        tiles_of(a.n_features, a.n_samples, tile_columns, !a.identity && a.n_pixels * size > far_sample);
    const Unfolding<Word> unfolding{static_cast<const Word*>(a.images),
                                    static_cast<Word*>(a.out),
                                    a.identity ? nullptr : a.pixel_of_feature,
                                    a.n_pixels,
                                    whole_words(a.images, a.n_pixels * size, size),
                                    tiles};
    const bool wide = whole_words(a.out, a.n_features * size, size);
    launch(wide ? unfold_tiles<Word, items> : unfold_tiles<Word, 1>, blocks_for(tiles.n_units), block_threads, 0,
           stream, unfolding);
}

}  // namespace

void unfold(const UnfoldArguments& a, void* stream) {
    if (a.n_samples == 0 || a.n_features == 0) {
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
