// fold of dense samples: a thread takes a few pixels of a group of samples, and their features and parameters from one
// load. Where samples lie side by side, one load also brings the values of several of them.
#include "counts.hpp"
#include "elements.hpp"
#include "fold_interleaved.hpp"
#include "fold_library.hpp"
#include "fold_natural.hpp"
#include "fold_shuffled.hpp"
#include "launch.hpp"
#include "normalise.hpp"
#include "pixels.hpp"
#include "pixfold/fold.hpp"
#include "tiles.hpp"

namespace pixfold::cuda {
namespace {

template <class C, class O>
struct Folding {
    const char* data;
    const std::int64_t* sample_offset;  // null: samples are sample_stride apart
    DType dtype;
    std::int64_t sample_stride;
    std::int64_t feature_stride;
    bool side_by_side;   // features without gaps between them
    bool whole_samples;  // and samples can be read several elements at a time
    bool interleaved;    // a feature's values of several samples may be one load
    Slots slots;
    bool normalise;
    Formula<C> formula;
    LogTable table;
    const double* row_scale;
    O* out;
    unsigned long long* counts;
    Tiles tiles;
};

template <class C, class O>
__device__ C row_scale_of(const Folding<C, O>& a, std::int64_t i) {
    return a.row_scale != nullptr ? static_cast<C>(a.row_scale[i]) : C{1};
}

template <class C, class O>
__device__ const char* sample_at(const Folding<C, O>& a, std::int64_t i) {
    return a.data + (a.sample_offset != nullptr ? a.sample_offset[i] : i * a.sample_stride);
}

// In-flight loads of doubles cost twice the registers.
template <class C>
constexpr int samples_at_once = sizeof(C) == 4 ? 4 : 2;

// Whether the samples from i on lie side by side, at an address that they can be read from at once.
template <class Word, int at_once, class C, class O>
__device__ bool are_together(const Folding<C, O>& a, std::int64_t i, std::int64_t end) {
    if (!a.interleaved || i + at_once > end) {
        return false;
    }
    constexpr auto element = static_cast<std::int64_t>(sizeof(Word));
    const std::int64_t first = sample_at(a, i) - a.data;
    bool all = first % (at_once * element) == 0;
#pragma unroll
    for (int u = 1; u < at_once; ++u) {
        all = all && sample_at(a, i + u) - a.data == first + u * element;
    }
    return all;
}

// One feature per pixel.
template <class Word, class C, class O, int width>
__global__ void __launch_bounds__(block_threads) fold_tiles(const Folding<C, O> a) {
    constexpr int at_once = samples_at_once<C>;
    __shared__ LogTable table;
    share(a.table, table);
    const std::int64_t n_slots = a.slots.n_slots;
    const std::int64_t n_pixels = a.slots.n_pixels;
    Met met;
    for (std::int64_t unit = blockIdx.x; unit < a.tiles.n_units; unit += gridDim.x) {
        const Columns<width> columns(a.tiles, unit);
        const Samples samples = samples_of(a.tiles, unit);
        std::int32_t slot[items];
        std::int32_t feature[items];
        SlotParameters<C> parameters[items] = {};
#pragma unroll
        for (int k = 0; k < items; ++k) {
            slot[k] = slot_of(a.slots, columns.at(k));
            feature[k] = slot[k] < 0 || a.slots.feature == nullptr ? slot[k] : a.slots.feature[slot[k]];
            if (a.normalise) {
                parameters[k] = parameters_of(a.formula, slot[k]);
            }
        }
        const bool in_order = a.side_by_side && a.slots.first_slot == nullptr && a.slots.feature == nullptr;
        for (std::int64_t i = samples.first; i < samples.end; i += at_once) {
            Word words[at_once][items];
            const bool together = are_together<Word, at_once>(a, i, samples.end);
            if (together) {
                const char* sample = sample_at(a, i);
#pragma unroll
                for (int k = 0; k < items; ++k) {
                    Words<Word, at_once> values{};
                    if (feature[k] >= 0) {
                        values = *reinterpret_cast<const Words<Word, at_once>*>(sample + feature[k] * a.feature_stride);
                    }
#pragma unroll
                    for (int u = 0; u < at_once; ++u) {
                        words[u][k] = values.of[u];
                    }
                }
            }
#pragma unroll
            for (int u = 0; u < at_once; ++u) {
                if (together || i + u >= samples.end) {
                    continue;
                }
                const char* sample = sample_at(a, i + u);
                if (in_order && (width == 1 || a.whole_samples)) {
                    columns.load_once(reinterpret_cast<const Word*>(sample), n_slots, words[u]);
                } else {
#pragma unroll
                    for (int k = 0; k < items; ++k) {
                        words[u][k] = feature[k] >= 0
                                          ? *reinterpret_cast<const Word*>(sample + feature[k] * a.feature_stride)
                                          : Word{0};
                    }
                }
            }
#pragma unroll
            for (int u = 0; u < at_once; ++u) {
                if (i + u >= samples.end) {
                    continue;
                }
                C value[items];
                decode(a.dtype, words[u], value);
                if (a.normalise) {
                    normalise(a.formula, table, slot, parameters, row_scale_of(a, i + u), value, met);
                }
                O image[items];
#pragma unroll
                for (int k = 0; k < items; ++k) {
                    store(&image[k], value[k]);
                }
                columns.store_once(a.out + (i + u) * n_pixels, n_pixels, image);
            }
        }
    }
    add_counts({met.missing, met.negative}, a.counts);
}

// Several features on a pixel: their mean in double, added in the order of the slots, as on the CPU.
template <class Word, class C, class O>
__global__ void __launch_bounds__(block_threads) fold_means(const Folding<C, O> a) {
    __shared__ LogTable table;
    share(a.table, table);
    const std::int64_t n_pixels = a.slots.n_pixels;
    Met met;
    for (std::int64_t unit = blockIdx.x; unit < a.tiles.n_units; unit += gridDim.x) {
        const std::int64_t p = unit % a.tiles.n_tiles * block_threads + threadIdx.x;
        if (p >= n_pixels) {
            continue;
        }
        const Samples samples = samples_of(a.tiles, unit);
        const std::int32_t first = a.slots.first_slot[p];
        const std::int32_t end = a.slots.first_slot[p + 1];
        for (std::int64_t i = samples.first; i < samples.end; ++i) {
            const char* sample = sample_at(a, i);
            double sum = 0.0;
            for (std::int32_t k = first; k < end; ++k) {
                const std::int64_t feature = a.slots.feature != nullptr ? a.slots.feature[k] : k;
                const C x = decode_one<C>(a.dtype, *reinterpret_cast<const Word*>(sample + feature * a.feature_stride));
                const C y = a.normalise ? normalise_one(a.formula, table, k, row_scale_of(a, i), x, met) : x;
                sum += static_cast<double>(y);
            }
            O image{};
            if (first < end) {
                store(&image, sum / static_cast<double>(end - first));
            }
            a.out[i * n_pixels + p] = image;
        }
    }
    add_counts({met.missing, met.negative}, a.counts);
}

template <class Word, class C, class O>
void fold_typed(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters, O* out,
                unsigned long long* counts, void* stream, const std::int64_t* sample_offset) {
    constexpr auto element = static_cast<std::int64_t>(sizeof(Word));
    constexpr auto pixel = static_cast<std::int64_t>(sizeof(O));
    constexpr std::int64_t load = samples_at_once<C> * element;
    const bool interleaved = x.sample_stride == element && x.feature_stride % load == 0 &&
                             reinterpret_cast<std::uintptr_t>(x.data) % static_cast<std::uintptr_t>(load) == 0;
    const bool far = !interleaved && slots.feature != nullptr && x.n_features * element > far_sample;
    const std::int64_t columns = slots.one_to_one ? tile_columns : block_threads;
    Tiles tiles = tiles_of(slots.n_pixels, x.n_samples, columns, far);
    if (interleaved && tiles.group < sector_bytes / element) {
        tiles = tiles.in_groups_of(sector_bytes / element);
    }
    const Folding<C, O> folding{static_cast<const char*>(x.data),
                                sample_offset,
                                x.dtype,
                                x.sample_stride,
                                x.feature_stride,
                                x.feature_stride == element,
                                whole_words(x.data, x.sample_stride, element),
                                interleaved,
                                slots,
                                parameters.normalise,
                                Formula<C>(parameters),
                                log_table(),
                                parameters.row_scale,
                                out,
                                counts,
                                tiles};
    const bool wide = whole_words(out, slots.n_pixels * pixel, pixel);
    const auto kernel = !slots.one_to_one ? fold_means<Word, C, O>
                        : wide            ? fold_tiles<Word, C, O, items>
                                          : fold_tiles<Word, C, O, 1>;
    launch(kernel, blocks_for(folding.tiles.n_units), block_threads, 0, stream, folding);
}

}  // namespace

std::int64_t fold_dense_workspace(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters,
                                  FoldOutput out, const std::int64_t* sample_offset) {
    const bool use = is_interleaved(x, slots, parameters, out, sample_offset) && !is_natural(x, slots, sample_offset) &&
                     !is_shuffled(x, slots, parameters);
    return use ? interleaved_workspace(x, slots, parameters, out) : 0;
}

void fold_dense(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters, FoldOutput out,
                unsigned long long* counts, void* stream, const std::int64_t* sample_offset, const FoldAid& aid) {
    if (x.n_samples == 0 || slots.n_pixels == 0) {
        return;
    }
    if (is_natural(x, slots, sample_offset)) {
        fold_natural(x, slots, parameters, out, counts, stream, sample_offset);
        return;
    }
    if (is_shuffled(x, slots, parameters)) {
        fold_shuffled(x, slots, parameters, out, counts, stream, sample_offset);
        return;
    }
    if (is_interleaved(x, slots, parameters, out, sample_offset) &&
        aid.workspace.bytes >= least_interleaved_workspace(x, parameters)) {
        fold_interleaved(x, slots, parameters, out, counts, stream, sample_offset, aid);
        return;
    }
    with_storage(x.dtype, [&](auto storage) {
        using Word = typename decltype(storage)::Word;
        using C = typename decltype(storage)::Compute;
        with_output(out.dtype, out.data, [&](auto* images) {
            fold_typed<Word, C>(x, slots, parameters, images, counts, stream, sample_offset);
        });
    });
}

bool fold_dense_library(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters,
                        double library_size, FoldOutput out, unsigned long long* counts, void* stream) {
    if (!is_library(x, slots, parameters)) {
        return false;
    }
    fold_library(x, slots, parameters, library_size, out, counts, stream);
    return true;
}

}  // namespace pixfold::cuda
