// fold_gradient: a thread takes a few features of a group of samples, and their pixels and parameters from one load.
//
// With a row scale, the sums over the slots of each sample come first: threads side by side take the lanes of a run of
// slots, in the order in which the CPU adds them up. What that works out is worked out again afterwards: to keep it
// would move as many bytes.
#include "differentiate.hpp"
#include "fold_gradient_arranged.hpp"
#include "fold_gradient_library.hpp"
#include "fold_gradient_natural.hpp"
#include "launch.hpp"
#include "pixfold/unfold.hpp"
#include "tiles.hpp"

namespace pixfold::cuda {
namespace {

template <class Word, class G, class C>
struct Differentiating {
    const char* data;
    DType dtype;
    std::int64_t n_samples;
    std::int64_t sample_stride;
    std::int64_t feature_stride;
    bool side_by_side;   // features without gaps between them
    bool whole_samples;  // and samples can be read several elements at a time
    Slots slots;
    const std::int32_t* slot_of_feature;
    const std::int32_t* pixel_of_feature;
    bool normalise;
    Formula<C> formula;
    LogTable table;
    const double* row_scale;
    const double* common;  // [n_samples], with a row scale
    const G* gradient;
    DType gradient_dtype;
    bool whole_images;
    Word* out;
    Tiles tiles;
};

// How many features the pixel shows.
template <class C>
__device__ C sharing_of(const Slots& slots, std::int32_t pixel) {
    return slots.one_to_one || pixel < 0 ? C{1} : static_cast<C>(slots.first_slot[pixel + 1] - slots.first_slot[pixel]);
}

constexpr int sums_at_once = 4;                                   // samples of a thread
constexpr std::int64_t runs_at_once = block_threads / sum_lanes;  // of a block
static_assert(warp_threads % sum_lanes == 0);

// sums[run][i] = the sum over a run of slots of sample i.
template <class Word, class G, class C>
__global__ void __launch_bounds__(block_threads)
    sum_runs(const Differentiating<Word, G, C> a, const std::int64_t n_runs, double* sums) {
    __shared__ LogTable table;
    share(a.table, table);
    const std::int64_t n_units = (a.n_samples + sums_at_once - 1) / sums_at_once * n_runs;
    const unsigned lane = threadIdx.x % sum_lanes;
    for (std::int64_t first = blockIdx.x * runs_at_once; first < n_units; first += gridDim.x * runs_at_once) {
        const std::int64_t unit = first + threadIdx.x / sum_lanes;
        const std::int64_t run = unit % n_runs;
        const std::int64_t sample = unit / n_runs * sums_at_once;  // beyond the last one where there is no unit
        const std::int64_t end = (run + 1) * sum_run < a.slots.n_slots ? (run + 1) * sum_run : a.slots.n_slots;
        C row_scale[sums_at_once];
        double sum[sums_at_once] = {};
#pragma unroll
        for (int u = 0; u < sums_at_once; ++u) {
            row_scale[u] = sample + u < a.n_samples ? static_cast<C>(a.row_scale[sample + u]) : C{0};
        }
        for (std::int64_t k = run * sum_run + lane; k < end && sample < a.n_samples; k += sum_lanes) {
            const std::int32_t slot = static_cast<std::int32_t>(k);
            const std::int32_t feature = a.slots.feature != nullptr ? a.slots.feature[slot] : slot;
            const std::int32_t pixel = a.pixel_of_feature != nullptr ? a.pixel_of_feature[feature] : feature;
            C sharing[sums_at_once];
            SlotParameters<C> parameters[sums_at_once];
            Word words[sums_at_once];
            G images[sums_at_once];
#pragma unroll
            for (int u = 0; u < sums_at_once; ++u) {
                sharing[u] = u > 0 ? sharing[0] : sharing_of<C>(a.slots, pixel);
                parameters[u] = u > 0 ? parameters[0] : parameters_of(a.formula, slot);
                const std::int64_t i = sample + u < a.n_samples ? sample + u : sample;
                words[u] = *reinterpret_cast<const Word*>(a.data + i * a.sample_stride + feature * a.feature_stride);
                images[u] = a.gradient[i * a.slots.n_pixels + pixel];
            }
            C x[sums_at_once];
            C lifted[sums_at_once];
            C derivative[sums_at_once];
            decode(a.dtype, words, x);
            arriving(a.gradient_dtype, images, !a.slots.one_to_one, sharing, derivative);
            differentiate(a.formula, table, parameters, row_scale, x, lifted, derivative);
#pragma unroll
            for (int u = 0; u < sums_at_once; ++u) {
                sum[u] += moved_through_sum(derivative[u], lifted[u]);
            }
        }
#pragma unroll
        for (int u = 0; u < sums_at_once; ++u) {
            double total = 0.0;
            for (unsigned from = 0; from < sum_lanes; ++from) {
                total += __shfl_sync(whole_warp, sum[u], static_cast<int>(threadIdx.x % warp_threads - lane + from));
            }
            if (lane == 0 && sample + u < a.n_samples) {
                sums[run * a.n_samples + sample + u] = total;
            }
        }
    }
}

// common[i] = what the values of sample i share, from its runs in order.
__global__ void __launch_bounds__(block_threads)
    add_runs(const double* sums, double* common, const double* row_scale, const double library_size,
             const std::int64_t n_samples, const std::int64_t n_runs) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * block_threads;
    for (std::int64_t i = blockIdx.x * std::int64_t{block_threads} + threadIdx.x; i < n_samples; i += stride) {
        double sum = 0.0;
        for (std::int64_t run = 0; run < n_runs; ++run) {
            sum += sums[run * n_samples + i];
        }
        common[i] = common_of(row_scale[i], library_size, sum);
    }
}

// In-flight loads of doubles cost twice the registers.
template <class C>
constexpr int samples_at_once = sizeof(C) == 4 ? 2 : 1;

template <class Word, class G, class C, int width>
__global__ void __launch_bounds__(block_threads) gradient_tiles(const Differentiating<Word, G, C> a) {
    constexpr int at_once = samples_at_once<C>;
    __shared__ LogTable table;
    share(a.table, table);
    const std::int64_t n_features = a.tiles.n_columns;
    for (std::int64_t unit = blockIdx.x; unit < a.tiles.n_units; unit += gridDim.x) {
        const Columns<width> columns(a.tiles, unit);
        const Samples samples = samples_of(a.tiles, unit);
        std::int32_t pixel[items];
        C sharing[items];
        SlotParameters<C> parameters[items] = {};
#pragma unroll
        for (int k = 0; k < items; ++k) {
            const std::int64_t j = columns.at(k);
            const auto feature = static_cast<std::int32_t>(j < n_features ? j : -1);
            pixel[k] = feature < 0 || a.pixel_of_feature == nullptr ? feature : a.pixel_of_feature[feature];
            sharing[k] = sharing_of<C>(a.slots, pixel[k]);
            if (a.normalise) {
                parameters[k] = parameters_of(
                    a.formula, feature < 0 || a.slot_of_feature == nullptr ? feature : a.slot_of_feature[feature]);
            }
        }
        for (std::int64_t i = samples.first; i < samples.end; i += at_once) {
            Word words[at_once][items] = {};
            G images[at_once][items] = {};
#pragma unroll
            for (int u = 0; u < at_once; ++u) {
                if (i + u >= samples.end) {
                    continue;
                }
                const char* sample = a.data + (i + u) * a.sample_stride;
                if (!a.normalise) {
                    // Nothing depends on the values.
                } else if (a.side_by_side && (width == 1 || a.whole_samples)) {
                    columns.load_once(reinterpret_cast<const Word*>(sample), n_features, words[u]);
                } else {
#pragma unroll
                    for (int k = 0; k < items; ++k) {
                        if (columns.at(k) < n_features) {
                            words[u][k] = *reinterpret_cast<const Word*>(sample + columns.at(k) * a.feature_stride);
                        }
                    }
                }
                const G* image = a.gradient + (i + u) * a.slots.n_pixels;
                if (a.pixel_of_feature == nullptr && (width == 1 || a.whole_images)) {
                    columns.load_once(image, n_features, images[u]);
                } else {
#pragma unroll
                    for (int k = 0; k < items; ++k) {
                        images[u][k] = pixel[k] >= 0 ? image[pixel[k]] : G{0};
                    }
                }
            }
#pragma unroll
            for (int u = 0; u < at_once; ++u) {
                if (i + u >= samples.end) {
                    continue;
                }
                C derivative[items];
                arriving(a.gradient_dtype, images[u], !a.slots.one_to_one, sharing, derivative);
                if (a.normalise) {
                    const C factor = a.row_scale != nullptr ? static_cast<C>(a.row_scale[i + u]) : C{1};
                    C row_scale[items];
                    C x[items];
                    C lifted[items];
                    decode(a.dtype, words[u], x);
#pragma unroll
                    for (int k = 0; k < items; ++k) {
                        row_scale[k] = factor;
                    }
                    differentiate(a.formula, table, parameters, row_scale, x, lifted, derivative);
#pragma unroll
                    for (int k = 0; k < items; ++k) {
                        derivative[k] = pixel[k] >= 0 ? derivative[k] : C{0};
                    }
                    if (a.row_scale != nullptr) {
                        const bool scaled = a.row_scale[i + u] != 0.0;
                        const C common = static_cast<C>(a.common[i + u]);
#pragma unroll
                        for (int k = 0; k < items; ++k) {
                            derivative[k] = scaled ? with_common(x[k], derivative[k], factor, common) : C{0};
                        }
                    }
                }
                Word out[items];
                encode(a.dtype, derivative, out);
                columns.store_once(a.out + (i + u) * n_features, n_features, out);
            }
        }
    }
}

template <class Word, class G, class C>
void gradient_of(const FoldGradientArguments& a, void* stream) {
    constexpr auto element = static_cast<std::int64_t>(sizeof(Word));
    constexpr auto pixel = static_cast<std::int64_t>(sizeof(G));
    const DenseView& x = a.x;
    const std::int64_t n_runs = (a.slots.n_slots + sum_run - 1) / sum_run;
    const bool sums = a.parameters.normalise && a.parameters.row_scale != nullptr;
    double* common = sums ? a.workspace + n_runs * x.n_samples : nullptr;
    const bool far = a.pixel_of_feature != nullptr && a.slots.n_pixels * pixel > far_sample;
    const Differentiating<Word, G, C> job{static_cast<const char*>(x.data),
                                          x.dtype,
                                          x.n_samples,
                                          x.sample_stride,
                                          x.feature_stride,
                                          x.feature_stride == element,
                                          whole_words(x.data, x.sample_stride, element),
                                          a.slots,
                                          a.slot_of_feature,
                                          a.pixel_of_feature,
                                          a.parameters.normalise,
                                          Formula<C>(a.parameters),
                                          log_table(),
                                          sums ? a.parameters.row_scale : nullptr,
                                          common,
                                          static_cast<const G*>(a.gradient.data),
                                          a.gradient.dtype,
                                          whole_words(a.gradient.data, a.slots.n_pixels * pixel, pixel),
                                          static_cast<Word*>(a.out),
                                          tiles_of(x.n_features, x.n_samples, tile_columns, far)};
    if (sums) {
        const std::int64_t n_units = (x.n_samples + sums_at_once - 1) / sums_at_once * n_runs;
        if (n_units > 0) {
            launch(sum_runs<Word, G, C>, blocks_for((n_units + runs_at_once - 1) / runs_at_once), block_threads, 0,
                   stream, job, n_runs, a.workspace);
        }
        launch(add_runs, blocks_for((x.n_samples + block_threads - 1) / block_threads), block_threads, 0, stream,
               static_cast<const double*>(a.workspace), common, a.parameters.row_scale, a.library_size, x.n_samples,
               n_runs);
    }
    const bool wide = whole_words(a.out, x.n_features * element, element);
    launch(wide ? gradient_tiles<Word, G, C, items> : gradient_tiles<Word, G, C, 1>, blocks_for(job.tiles.n_units),
           block_threads, 0, stream, job);
}

// Whether the gradient is moved alone.
bool is_unfold(const FoldGradientArguments& a) {
    return a.x.dtype == DType::f32 && a.gradient.dtype == DType::f32 && !a.parameters.normalise && a.slots.one_to_one;
}

UnfoldArguments unfold_of(const FoldGradientArguments& a) {
    return {a.gradient.data,    a.out,
            sizeof(float),      a.x.n_samples,
            a.x.n_features,     a.slots.n_pixels,
            a.pixel_of_feature, a.pixel_of_feature == nullptr};
}

}  // namespace

std::int64_t fold_gradient_scratch(const FoldGradientArguments& a) {
    if (is_unfold(a)) {
        return unfold_workspace(unfold_of(a));
    }
    return is_arranged_gradient(a) ? arranged_gradient_scratch(a, a.x.n_samples) : 0;
}

void fold_gradient(const FoldGradientArguments& a, void* stream) {
    if (a.x.n_samples == 0 || a.x.n_features == 0) {
        return;
    }
    if (is_natural_gradient(a)) {
        return fold_gradient_natural(a, stream);
    }
    if (is_unfold(a)) {
        return unfold(unfold_of(a), stream, a.scratch);
    }
    if (is_arranged_gradient(a) && a.scratch.bytes >= arranged_gradient_scratch(a, 1)) {
        return fold_gradient_arranged(a, stream);
    }
    with_float_storage(a.x.dtype, [&](auto storage) {
        using Word = typename decltype(storage)::Word;
        using C = typename decltype(storage)::Compute;
        if (a.gradient.dtype == DType::f32) {
            gradient_of<Word, std::uint32_t, C>(a, stream);
        } else {
            gradient_of<Word, std::uint16_t, C>(a, stream);
        }
    });
}

bool fold_gradient_library(const FoldGradientArguments& a, void* stream) {
    if (a.x.n_samples == 0 || !is_library_gradient(a)) {
        return false;
    }
    fold_gradient_of_library(a, stream);
    return true;
}

}  // namespace pixfold::cuda
