// fold of packed genotypes. What the four codes become at a pixel is loaded once for sixteen samples.
//
// Pixels that show features in order read their codes as they lie. Others would gather a 32-byte sector for two bits of
// each sample: first, the codes of sixteen samples are put side by side, a word per feature, and one gather brings the
// codes of all of them.
#include <type_traits>

#include "elements.hpp"
#include "fold_packed_natural.hpp"
#include "launch.hpp"
#include "pixels.hpp"
#include "pixfold/packed.hpp"
#include "tiles.hpp"

namespace pixfold::cuda {
namespace {

constexpr int at_once = 4;  // samples whose loads are in flight together
constexpr int codes = 4;

template <class T>
struct Packing {
    PackedView x;
    Slots slots;
    const T* planes;
    T* out;
    const std::uint32_t* words;  // null: codes are read as they lie
    const std::int64_t* sample;  // null: image i is of row i
    Tiles tiles;
};

__device__ inline const std::uint8_t* row_of(const PackedView& x, const std::int64_t* sample, std::int64_t i) {
    return x.bits + (sample != nullptr ? sample[i] : i) * x.sample_stride;
}

// Without branches: the code chooses among values in registers.
template <class T, int n>
__device__ T choose(const T (&values)[codes][n], int k, unsigned code) {
    const T low = (code & 1u) != 0 ? values[1][k] : values[0][k];
    const T high = (code & 1u) != 0 ? values[3][k] : values[2][k];
    return (code & 2u) != 0 ? high : low;
}

template <class T, int width>
__global__ void __launch_bounds__(block_threads) fold_codes(const Packing<T> a) {
    const std::int64_t n_pixels = a.slots.n_pixels;
    // Features and pixels in order and four pixels to a thread: one byte has them all.
    const bool byte_each = width == items && a.words == nullptr && a.slots.first_slot == nullptr;
    for (std::int64_t unit = blockIdx.x; unit < a.tiles.n_units; unit += gridDim.x) {
        const Columns<width> columns(a.tiles, unit);
        const Samples samples = samples_of(a.tiles, unit);
        std::int32_t feature[items];
        T values[codes][items];
#pragma unroll
        for (int k = 0; k < items; ++k) {
            const std::int32_t slot = slot_of(a.slots, columns.at(k));
            feature[k] = slot < 0 || a.slots.feature == nullptr ? slot : a.slots.feature[slot];
        }
#pragma unroll
        for (int code = 0; code < codes; ++code) {
            columns.load(a.planes + code * n_pixels, n_pixels, values[code]);
        }
        if (a.words != nullptr) {
            const std::uint32_t* words = a.words + samples.first / word_samples * a.x.row_bytes() * 4;
            std::uint32_t word[items];
#pragma unroll
            for (int k = 0; k < items; ++k) {
                word[k] = feature[k] >= 0 ? words[feature[k]] : 0u;
            }
            for (std::int64_t i = samples.first; i < samples.end; ++i) {
                T image[items];
#pragma unroll
                for (int k = 0; k < items; ++k) {
                    image[k] = choose(values, k, word[k]);
                    word[k] >>= 2;
                }
                columns.store_once(a.out + i * n_pixels, n_pixels, image);
            }
            continue;
        }
        for (std::int64_t i = samples.first; i < samples.end; i += at_once) {
            unsigned byte[at_once][items] = {};
#pragma unroll
            for (int u = 0; u < at_once; ++u) {
                if (i + u >= samples.end) {
                    continue;
                }
                const std::uint8_t* row = row_of(a.x, a.sample, i + u);
                if (byte_each) {
                    byte[u][0] = feature[0] >= 0 ? row[feature[0] >> 2] : 0u;
                } else {
#pragma unroll
                    for (int k = 0; k < items; ++k) {
                        byte[u][k] = feature[k] >= 0 ? row[feature[k] >> 2] : 0u;
                    }
                }
            }
#pragma unroll
            for (int u = 0; u < at_once; ++u) {
                if (i + u >= samples.end) {
                    continue;
                }
                T image[items];
#pragma unroll
                for (int k = 0; k < items; ++k) {
                    const unsigned bits = byte_each ? byte[u][0] : byte[u][k];
                    image[k] = choose(values, k, bits >> (2 * (static_cast<unsigned>(feature[k]) & 3u)));
                }
                columns.store_once(a.out + (i + u) * n_pixels, n_pixels, image);
            }
        }
    }
}

// A word of sixteen samples' codes for each of the features of a byte. Samples that are not there have code 0.
__global__ void __launch_bounds__(block_threads)
    interleave(const PackedView x, const std::int64_t* sample, std::uint32_t* words) {
    const std::int64_t row_bytes = x.row_bytes();
    const std::int64_t n_blocks = (x.n_samples + word_samples - 1) / word_samples;
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t unit = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
         unit < n_blocks * row_bytes; unit += step) {
        const std::int64_t first = unit / row_bytes * word_samples;
        const std::int64_t n = x.n_samples - first < word_samples ? x.n_samples - first : word_samples;
        unsigned byte[word_samples];
#pragma unroll
        for (int s = 0; s < word_samples; ++s) {
            byte[s] = s < n ? row_of(x, sample, first + s)[unit % row_bytes] : 0u;
        }
        Words<std::uint32_t, 4> made{};
#pragma unroll
        for (int s = 0; s < word_samples; ++s) {
#pragma unroll
            for (int f = 0; f < 4; ++f) {
                made.of[f] |= (byte[s] >> (2 * f) & 3u) << (2 * s);
            }
        }
        store_word(reinterpret_cast<Words<std::uint32_t, 4>*>(words) + unit, made);
    }
}

void put_side_by_side(const PackedView& x, const std::int64_t* sample, std::uint32_t* words, void* stream) {
    const std::int64_t units = packed_scratch(x) / 4;
    launch(interleave, blocks_for((units + block_threads - 1) / block_threads), block_threads, 0, stream, x, sample,
           words);
}

template <class O>
struct Averaging {
    std::int64_t row_words;  // a block of sixteen samples
    Slots slots;
    const float* values;
    O* out;
    const std::uint32_t* words;
    Tiles tiles;
};

// Several features on a pixel: their mean in double, added in the order of the slots, as of dense samples.
template <class O>
__global__ void __launch_bounds__(block_threads) fold_code_means(const Averaging<O> a) {
    const std::int64_t n_pixels = a.slots.n_pixels;
    for (std::int64_t unit = blockIdx.x; unit < a.tiles.n_units; unit += gridDim.x) {
        const std::int64_t p = unit % a.tiles.n_tiles * block_threads + threadIdx.x;
        if (p >= n_pixels) {
            continue;
        }
        const Samples samples = samples_of(a.tiles, unit);
        const std::uint32_t* words = a.words + samples.first / word_samples * a.row_words;
        const std::int32_t first = a.slots.first_slot[p];
        const std::int32_t end = a.slots.first_slot[p + 1];
        double sum[word_samples] = {};
        for (std::int32_t k = first; k < end; ++k) {
            const std::uint32_t word = words[a.slots.feature != nullptr ? a.slots.feature[k] : k];
            float values[codes][1];
#pragma unroll
            for (int code = 0; code < codes; ++code) {
                values[code][0] = a.values[code * a.slots.n_slots + k];
            }
#pragma unroll
            for (int s = 0; s < word_samples; ++s) {
                sum[s] += static_cast<double>(choose(values, 0, word >> (2 * s)));
            }
        }
#pragma unroll
        for (int s = 0; s < word_samples; ++s) {
            if (samples.first + s < samples.end) {
                O image{};
                if (first < end) {
                    store(&image, sum[s] / static_cast<double>(end - first));
                }
                a.out[(samples.first + s) * n_pixels + p] = image;
            }
        }
    }
}

template <class T>
void fold_typed(const FoldPackedArguments& a, void* stream) {
    constexpr auto element = static_cast<std::int64_t>(sizeof(T));
    const bool gathers = a.slots.feature != nullptr;
    Tiles tiles = tiles_of(a.slots.n_pixels, a.x.n_samples, tile_columns, false);
    if (gathers) {
        put_side_by_side(a.x, a.sample, a.scratch, stream);
        tiles = tiles.in_groups_of(word_samples);
    }
    const Packing<T> packing{
        a.x,      a.slots, static_cast<const T*>(a.planes), static_cast<T*>(a.out), gathers ? a.scratch : nullptr,
        a.sample, tiles};
    const std::int64_t stride = a.slots.n_pixels * element;
    const bool wide = whole_words(a.out, stride, element) && whole_words(a.planes, stride, element);
    launch(wide ? fold_codes<T, items> : fold_codes<T, 1>, blocks_for(tiles.n_units), block_threads, 0, stream,
           packing);
}

}  // namespace

// Elements are moved, never computed with: their bits are all that matters.
void fold_packed(const FoldPackedArguments& a, void* stream) {
    if (a.x.n_samples == 0 || a.slots.n_pixels == 0) {
        return;
    }
    if (is_packed_natural(a)) {
        fold_packed_natural(a, stream);
        return;
    }
    switch (a.element) {
        case 1:
            return fold_typed<std::uint8_t>(a, stream);
        case 2:
            return fold_typed<std::uint16_t>(a, stream);
        default:
            return fold_typed<std::uint32_t>(a, stream);
    }
}

void fold_packed_means(const FoldPackedMeans& a, void* stream) {
    if (a.x.n_samples == 0 || a.slots.n_pixels == 0) {
        return;
    }
    put_side_by_side(a.x, a.sample, a.scratch, stream);
    const Tiles tiles = tiles_of(a.slots.n_pixels, a.x.n_samples, block_threads, false).in_groups_of(word_samples);
    with_output(a.out.dtype, a.out.data, [&](auto* images) {
        using O = std::remove_pointer_t<decltype(images)>;
        launch(fold_code_means<O>, blocks_for(tiles.n_units), block_threads, 0, stream,
               Averaging<O>{a.x.row_bytes() * 4, a.slots, a.values, images, a.scratch, tiles});
    });
}

}  // namespace pixfold::cuda
