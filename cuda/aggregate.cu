// aggregate: a thread keeps the sums of a few pixels in registers while it goes through the samples of a part.
#include <cmath>
#include <type_traits>

#include "counts.hpp"
#include "elements.hpp"
#include "launch.hpp"
#include "math/pixel_moments.hpp"
#include "pixfold/aggregate.hpp"
#include "tiles.hpp"

namespace pixfold::cuda {
namespace {

template <class Word>
struct Aggregation {
    const Word* attributions;
    AggregateBatch batch;
    double* sums;  // (n_parts, 3, n_pixels); null where every class is one part, and closed at once
    unsigned long long* bad;
    Tiles tiles;  // of each part
};

// What a thread sums for one part.
struct Sums {
    double pivot[items] = {};
    double sum[items] = {};
    double square[items] = {};
    double absolute[items] = {};

    __device__ void add(const double (&value)[items]) {
#pragma unroll
        for (int k = 0; k < items; ++k) {
            const double d = value[k] - pivot[k];
            sum[k] += d;
            square[k] = std::fma(d, d, square[k]);
            absolute[k] += std::fabs(value[k]);
        }
    }
};

// Where a thread's pixels lie in a row. Beyond the last pixel it reads that one again, so that no load asks whether it
// may: what comes of it is never written.
template <class Word, int width>
class Pixels {
  public:
    __device__ Pixels(const AggregateBatch& batch, const Columns<width>& columns) {
#pragma unroll
        for (int k = 0; k < n_loads; ++k) {
            const std::int64_t last = batch.n_pixels - width;
            offset_[k] = (columns.at(k) < last ? columns.at(k) : last) * batch.pixel_stride;
        }
    }

    __device__ void load(const Word* row, Word (&words)[items]) const {
#pragma unroll
        for (int k = 0; k < n_loads; ++k) {
            const auto loaded = load_once(reinterpret_cast<const Words<Word, width>*>(row + offset_[k]));
#pragma unroll
            for (int i = 0; i < width; ++i) {
                words[k * width + i] = loaded.of[i];
            }
        }
    }

  private:
    static constexpr int n_loads = items / width;
    std::int64_t offset_[n_loads];
};

template <class Word>
using Number = std::conditional_t<sizeof(Word) == sizeof(double), double, float>;

template <class Word>
__device__ void widen(DType dtype, const Word (&words)[items], double (&value)[items]) {
    Number<Word> number[items];
    decode(dtype, words, number);
#pragma unroll
    for (int k = 0; k < items; ++k) {
        value[k] = static_cast<double>(number[k]);
    }
}

// Adds the sums over channels of the samples that begin at `start`, in order. Their loads of one channel are in flight
// together.
template <class Word, int width, bool one_channel, int n>
__device__ void add_samples(const Aggregation<Word>& a, const Pixels<Word, width>& pixels, const std::int64_t* start,
                            int n_left, Sums& sums) {
    Word words[n][items];
    const auto load = [&](std::int64_t channel) {
#pragma unroll
        for (int u = 0; u < n; ++u) {
            if (u < n_left) {
                pixels.load(a.attributions + start[u] + channel, words[u]);
            }
        }
    };
    load(0);
    if constexpr (one_channel) {
#pragma unroll
        for (int u = 0; u < n; ++u) {
            if (u < n_left) {
                double value[items];
                widen(a.batch.dtype, words[u], value);
                sums.add(value);
            }
        }
    } else {
        double value[n][items] = {};
        for (std::int64_t c = 0;;) {
#pragma unroll
            for (int u = 0; u < n; ++u) {
                if (u < n_left) {
                    double of_channel[items];
                    widen(a.batch.dtype, words[u], of_channel);
#pragma unroll
                    for (int k = 0; k < items; ++k) {
                        value[u][k] += of_channel[k];
                    }
                }
            }
            if (++c == a.batch.n_channels) {
                break;
            }
            load(c * a.batch.channel_stride);
        }
#pragma unroll
        for (int u = 0; u < n; ++u) {
            if (u < n_left) {
                sums.add(value[u]);
            }
        }
    }
}

// The mean before, or the first sample.
template <class Word, int width, bool one_channel>
__device__ void load_pivot(const Aggregation<Word>& a, const ClassSamples& of, const Columns<width>& columns,
                           Sums& sums) {
    if (of.seen > 0) {
        columns.load(of.before, a.batch.n_pixels, sums.pivot);
        return;
    }
    const std::int64_t start = of.samples[0] * a.batch.sample_stride;
    Sums first;
    add_samples<Word, width, one_channel, 1>(a, Pixels<Word, width>(a.batch, columns), &start, 1, first);
#pragma unroll
    for (int k = 0; k < items; ++k) {
        sums.pivot[k] = first.sum[k];
    }
}

// Writes the new moments of a class; returns how many of them are not finite.
template <int width>
__device__ unsigned close_class(const ClassSamples& of, std::int64_t n_pixels, const Columns<width>& columns,
                                const Sums& sums) {
    const ClassWeights weights(of.seen, of.n_samples);
    double mean[items];
    double m2[items] = {};
    double mean_abs[items] = {};
    if (of.seen > 0) {
        columns.load_once(of.before + n_pixels, n_pixels, m2);
        columns.load_once(of.before + 2 * n_pixels, n_pixels, mean_abs);
    }
    unsigned bad = 0;
#pragma unroll
    for (int k = 0; k < items; ++k) {
        const PixelSums s{sums.sum[k], sums.square[k], sums.absolute[k]};
        const PixelMoments after = moments_after(weights, sums.pivot[k], s, m2[k], mean_abs[k]);
        bad += columns.at(k) >= n_pixels || finite(s, after) ? 0u : 1u;
        mean[k] = after.mean;
        m2[k] = after.m2;
        mean_abs[k] = after.mean_abs;
    }
    columns.store_once(of.after, n_pixels, mean);
    columns.store_once(of.after + n_pixels, n_pixels, m2);
    columns.store_once(of.after + 2 * n_pixels, n_pixels, mean_abs);
    return bad;
}

// Samples at a time: what 128 registers hold.
template <class Word, bool one_channel>
constexpr int at_once = (sizeof(Word) == sizeof(double) ? 4 : 8) / (one_channel ? 1 : 2);

template <class Word, int width, bool one_channel>
__global__ void __launch_bounds__(block_threads, 2) sum_parts(const Aggregation<Word> a) {
    __shared__ std::int64_t start[block_threads];
    const std::int64_t n_pixels = a.batch.n_pixels;
    unsigned bad = 0;
    for (std::int64_t unit = blockIdx.x; unit < a.tiles.n_units; unit += gridDim.x) {
        const std::int64_t number = unit / a.tiles.n_tiles;
        const Part part = a.batch.parts[number];
        const ClassSamples of = a.batch.classes[part.of].samples;
        const Columns<width> columns(a.tiles, unit);
        const Pixels<Word, width> pixels(a.batch, columns);
        Sums sums;
        load_pivot<Word, width, one_channel>(a, of, columns, sums);
        for (std::int64_t first = 0; first < part.n_samples; first += block_threads) {
            const std::int64_t left = part.n_samples - first;
            const int n = left < block_threads ? static_cast<int>(left) : block_threads;
            __syncthreads();  // all are done with the samples before
            if (static_cast<int>(threadIdx.x) < n) {
                start[threadIdx.x] = of.samples[part.first + first + threadIdx.x] * a.batch.sample_stride;
            }
            __syncthreads();
            constexpr int group = at_once<Word, one_channel>;
            for (int i = 0; i < n; i += group) {
                add_samples<Word, width, one_channel, group>(a, pixels, start + i, n - i, sums);
            }
        }
        if (a.sums == nullptr) {
            bad += close_class(of, n_pixels, columns, sums);
        } else {
            double* to = a.sums + number * 3 * n_pixels;
            columns.store_once(to, n_pixels, sums.sum);
            columns.store_once(to + n_pixels, n_pixels, sums.square);
            columns.store_once(to + 2 * n_pixels, n_pixels, sums.absolute);
        }
    }
    add_counts({bad}, a.bad);
}

// Adds the sums of the parts of each class, in order, and closes it. A unit is a tile of one class.
template <class Word, bool one_channel>
__global__ void __launch_bounds__(block_threads) close_classes(const Aggregation<Word> a) {
    const std::int64_t n_pixels = a.batch.n_pixels;
    unsigned bad = 0;
    for (std::int64_t unit = blockIdx.x; unit < a.tiles.n_units; unit += gridDim.x) {
        const PlannedClass planned = a.batch.classes[unit / a.tiles.n_tiles];
        const Columns<1> columns(a.tiles, unit);
        Sums sums;
        load_pivot<Word, 1, one_channel>(a, planned.samples, columns, sums);
#pragma unroll 2
        for (std::int64_t i = 0; i < planned.n_parts; ++i) {
            const double* from = a.sums + (planned.first_part + i) * 3 * n_pixels;
            double sum[items];
            double square[items];
            double absolute[items];
            columns.load_once(from, n_pixels, sum);
            columns.load_once(from + n_pixels, n_pixels, square);
            columns.load_once(from + 2 * n_pixels, n_pixels, absolute);
#pragma unroll
            for (int k = 0; k < items; ++k) {
                sums.sum[k] += sum[k];
                sums.square[k] += square[k];
                sums.absolute[k] += absolute[k];
            }
        }
        bad += close_class(planned.samples, n_pixels, columns, sums);
    }
    add_counts({bad}, a.bad);
}

Tiles tiles_of_each(std::int64_t n_pixels, std::int64_t n) {
    const std::int64_t n_tiles = (n_pixels + tile_columns - 1) / tile_columns;
    return {n_pixels, n, n_tiles, n_tiles * n, 1};
}

template <class Word, bool one_channel>
void aggregate_words(const AggregateBatch& batch, double* sums, unsigned long long* bad, void* stream) {
    constexpr auto size = static_cast<std::int64_t>(sizeof(Word));
    Aggregation<Word> a{static_cast<const Word*>(batch.attributions), batch, sums, bad,
                        tiles_of_each(batch.n_pixels, batch.n_parts)};
    // Then the rows of the moments are whole words, too.
    const bool wide = batch.pixel_stride == 1 && batch.n_pixels % items == 0 &&
                      whole_words(a.attributions, batch.sample_stride * size, size) &&
                      whole_words(a.attributions, batch.channel_stride * size, size);
    launch(wide ? sum_parts<Word, items, one_channel> : sum_parts<Word, 1, one_channel>, blocks_for(a.tiles.n_units),
           block_threads, 0, stream, a);
    if (sums != nullptr) {
        a.tiles = tiles_of_each(batch.n_pixels, batch.n_classes);
        launch(close_classes<Word, one_channel>, blocks_for(a.tiles.n_units), block_threads, 0, stream, a);
    }
}

template <class Word>
void aggregate_words(const AggregateBatch& batch, double* sums, unsigned long long* bad, void* stream) {
    if (batch.n_channels == 1) {
        aggregate_words<Word, true>(batch, sums, bad, stream);
    } else {
        aggregate_words<Word, false>(batch, sums, bad, stream);
    }
}

}  // namespace

AggregatePlan plan_aggregate(const ClassSamples* classes, std::int64_t n_classes, std::int64_t n_pixels,
                             std::int64_t enough) {
    const auto parts_of = [](std::int64_t n, std::int64_t length) { return (n + length - 1) / length; };
    std::int64_t length = least_part;
    for (std::int64_t k = 0; k < n_classes; ++k) {
        while (length < classes[k].n_samples) {
            length *= 2;
        }
    }
    const std::int64_t n_tiles = parts_of(n_pixels, tile_columns);
    const auto n_units = [&] {
        std::int64_t n = 0;
        for (std::int64_t k = 0; k < n_classes; ++k) {
            n += parts_of(classes[k].n_samples, length) * n_tiles;
        }
        return n;
    };
    while (length > least_part && n_units() < enough) {
        length /= 2;
    }
    AggregatePlan plan;
    for (std::int64_t k = 0; k < n_classes; ++k) {
        const std::int64_t n = classes[k].n_samples;
        plan.classes.push_back({classes[k], static_cast<std::int64_t>(plan.parts.size()), parts_of(n, length)});
        for (std::int64_t first = 0; first < n; first += length) {
            plan.parts.push_back({k, first, n - first < length ? n - first : length});
        }
    }
    return plan;
}

std::int64_t aggregate_workspace_bytes(std::int64_t n_classes, std::int64_t n_parts, std::int64_t n_pixels) {
    return n_parts > n_classes ? n_parts * 3 * n_pixels * static_cast<std::int64_t>(sizeof(double)) : 0;
}

void aggregate(const AggregateBatch& batch, void* workspace, unsigned long long* bad, void* stream) {
    if (batch.n_parts == 0 || batch.n_pixels == 0) {
        return;
    }
    double* sums = batch.n_parts > batch.n_classes ? static_cast<double*>(workspace) : nullptr;
    switch (batch.dtype) {
        case DType::f64:
            return aggregate_words<std::uint64_t>(batch, sums, bad, stream);
        case DType::f32:
            return aggregate_words<std::uint32_t>(batch, sums, bad, stream);
        default:
            return aggregate_words<std::uint16_t>(batch, sums, bad, stream);
    }
}

}  // namespace pixfold::cuda
