// aggregate: a thread keeps the sums of two pixels in registers while it goes through the samples of a part.
#include <cmath>
#include <type_traits>

#include "aggregate_plan.hpp"
#include "counts.hpp"
#include "elements.hpp"
#include "launch.hpp"
#include "words.hpp"

namespace pixfold::cuda {
namespace {

constexpr int sum_threads = 128;
constexpr int sum_blocks = 8;  // per multiprocessor: 64 registers
constexpr int together = 2;    // pixels of a thread
constexpr std::int64_t sum_tile = sum_threads * together;

__host__ __device__ constexpr std::int64_t tiles_of(std::int64_t n_pixels) {
    return (n_pixels + sum_tile - 1) / sum_tile;
}

// The pixels of a thread: side by side, one access, or a block's width apart.
template <int width>
struct Columns {
    static_assert(width == 1 || width == together);
    std::int64_t first;
    std::int64_t n;

    __device__ Columns(std::int64_t tile, std::int64_t n_pixels)
        : first(tile * sum_tile + static_cast<std::int64_t>(threadIdx.x) * width), n(n_pixels) {}
    __device__ std::int64_t at(int k) const { return first + (width == together ? k : k * sum_threads); }

    __device__ void load(const double* row, double (&to)[together]) const {
        if constexpr (width == together) {
            if (first < n) {
                const auto words = load_once(reinterpret_cast<const Words<double, together>*>(row + first));
#pragma unroll
                for (int k = 0; k < together; ++k) {
                    to[k] = words.of[k];
                }
            }
        } else {
#pragma unroll
            for (int k = 0; k < together; ++k) {
                to[k] = at(k) < n ? load_once(row + at(k)) : 0.0;
            }
        }
    }
    __device__ void store(double* row, const double (&from)[together]) const {
        if constexpr (width == together) {
            if (first < n) {
                Words<double, together> words;
#pragma unroll
                for (int k = 0; k < together; ++k) {
                    words.of[k] = from[k];
                }
                store_once(reinterpret_cast<Words<double, together>*>(row + first), words);
            }
        } else {
#pragma unroll
            for (int k = 0; k < together; ++k) {
                if (at(k) < n) {
                    store_once(row + at(k), from[k]);
                }
            }
        }
    }
};

// What a thread sums for one part.
struct Sums {
    double pivot[together] = {};
    double sum[together] = {};
    double square[together] = {};
    double absolute[together] = {};

    __device__ void add(const double (&value)[together]) {
#pragma unroll
        for (int k = 0; k < together; ++k) {
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

    __device__ void load(const Word* row, Word (&words)[together]) const {
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
    static constexpr int n_loads = together / width;
    std::int64_t offset_[n_loads];
};

template <class Word>
using Number = std::conditional_t<sizeof(Word) == sizeof(double), double, float>;

template <class Word>
__device__ void widen(DType dtype, const Word (&words)[together], double (&value)[together]) {
    Number<Word> number[together];
    decode(dtype, words, number);
#pragma unroll
    for (int k = 0; k < together; ++k) {
        value[k] = static_cast<double>(number[k]);
    }
}

// Adds the sums over channels of the samples that begin at `start`, in order. Their loads of one channel are in flight
// together.
template <class Word, int width, bool one_channel, int n>
__device__ void add_samples(const AggregateBatch& batch, const Pixels<Word, width>& pixels, const std::int64_t* start,
                            int n_left, Sums& sums) {
    const auto* attributions = static_cast<const Word*>(batch.attributions);
    Word words[n][together];
    const auto load = [&](std::int64_t channel) {
#pragma unroll
        for (int u = 0; u < n; ++u) {
            if (u < n_left) {
                pixels.load(attributions + start[u] + channel, words[u]);
            }
        }
    };
    load(0);
    if constexpr (one_channel) {
#pragma unroll
        for (int u = 0; u < n; ++u) {
            if (u < n_left) {
                double value[together];
                widen(batch.dtype, words[u], value);
                sums.add(value);
            }
        }
    } else {
        double value[n][together] = {};
        for (std::int64_t c = 0;;) {
#pragma unroll
            for (int u = 0; u < n; ++u) {
                if (u < n_left) {
                    double of_channel[together];
                    widen(batch.dtype, words[u], of_channel);
#pragma unroll
                    for (int k = 0; k < together; ++k) {
                        value[u][k] += of_channel[k];
                    }
                }
            }
            if (++c == batch.n_channels) {
                break;
            }
            load(c * batch.channel_stride);
        }
#pragma unroll
        for (int u = 0; u < n; ++u) {
            if (u < n_left) {
                sums.add(value[u]);
            }
        }
    }
}

// A class before and after the batch.
struct Moments {
    std::int64_t seen;
    const double* before;
    double* after;
};

__device__ inline Moments moments_of(const Aggregation& a, std::int64_t k) {
    const std::int64_t at = k * 3 * a.batch.n_pixels;
    const std::int64_t side = a.state.side[k];
    return {a.state.count[k], a.state.moments[side] + at, a.state.moments[1 - side] + at};
}

// The mean before, or the first of the class's samples.
template <class Word, int width, bool one_channel>
__device__ void load_pivot(const AggregateBatch& batch, const Moments& of, const std::int64_t* first_sample,
                           const Columns<width>& columns, Sums& sums) {
    if (of.seen > 0) {
        columns.load(of.before, sums.pivot);
        return;
    }
    const std::int64_t start = *first_sample * batch.sample_stride;
    Sums first;
    add_samples<Word, width, one_channel, 1>(batch, Pixels<Word, width>(batch, columns), &start, 1, first);
#pragma unroll
    for (int k = 0; k < together; ++k) {
        sums.pivot[k] = first.sum[k];
    }
}

// Writes the new moments of a class; returns how many of them are not finite.
template <int width>
__device__ unsigned close_class(const Moments& of, const ClassWeights& weights, const Columns<width>& columns,
                                const Sums& sums) {
    const std::int64_t n_pixels = columns.n;
    double mean[together];
    double m2[together] = {};
    double mean_abs[together] = {};
    if (of.seen > 0) {
        columns.load(of.before + n_pixels, m2);
        columns.load(of.before + 2 * n_pixels, mean_abs);
    }
    unsigned bad = 0;
#pragma unroll
    for (int k = 0; k < together; ++k) {
        const PixelSums s{sums.sum[k], sums.square[k], sums.absolute[k]};
        const PixelMoments after = moments_after(weights, sums.pivot[k], s, m2[k], mean_abs[k]);
        bad += columns.at(k) >= n_pixels || finite(s, after) ? 0u : 1u;
        mean[k] = after.mean;
        m2[k] = after.m2;
        mean_abs[k] = after.mean_abs;
    }
    columns.store(of.after, mean);
    columns.store(of.after + n_pixels, m2);
    columns.store(of.after + 2 * n_pixels, mean_abs);
    return bad;
}

// Samples at a time: what 64 registers hold.
template <class Word, bool one_channel>
constexpr int at_once = (sizeof(Word) == sizeof(double)  ? 4
                         : sizeof(Word) == sizeof(float) ? 8
                                                         : 6) /
                        (one_channel ? 1 : 2);

// A unit is a tile of one part.
template <class Word, int width, bool one_channel>
__global__ void __launch_bounds__(sum_threads, sum_blocks) sum_parts(const Aggregation a) {
    __shared__ std::int64_t start[sum_threads];
    const std::int64_t n_pixels = a.batch.n_pixels;
    const std::int64_t n_tiles = tiles_of(n_pixels);
    unsigned bad = 0;
    for (std::int64_t unit = blockIdx.x; unit < a.plan.most_parts * n_tiles; unit += gridDim.x) {
        const std::int64_t number = unit / n_tiles;
        // What a part is, is read again where it is needed: between the samples no register holds it.
        const Part* part = a.plan.parts + number;
        if (part->n_samples == 0) {
            break;  // and so are those behind it
        }
        const Columns<width> columns(unit % n_tiles, n_pixels);
        const Pixels<Word, width> pixels(a.batch, columns);
        Sums sums;
        load_pivot<Word, width, one_channel>(a.batch, moments_of(a, part->of), a.plan.order + part->class_first,
                                             columns, sums);
        for (std::int64_t first = 0; first < part->n_samples; first += sum_threads) {
            const std::int64_t left = part->n_samples - first;
            const int n = left < sum_threads ? static_cast<int>(left) : sum_threads;
            __syncthreads();  // all are done with the samples before
            if (static_cast<int>(threadIdx.x) < n) {
                start[threadIdx.x] = a.plan.order[part->first + first + threadIdx.x] * a.batch.sample_stride;
            }
            __syncthreads();
            constexpr int group = at_once<Word, one_channel>;
            for (int i = 0; i < n; i += group) {
                add_samples<Word, width, one_channel, group>(a.batch, pixels, start + i, n - i, sums);
            }
        }
        if (a.plan.sums == nullptr) {
            // Parts are classes, then, in the same order.
            bad += close_class(moments_of(a, part->of), a.plan.classes[number].weights, columns, sums);
        } else {
            double* to = a.plan.sums + number * 3 * n_pixels;
            columns.store(to, sums.sum);
            columns.store(to + n_pixels, sums.square);
            columns.store(to + 2 * n_pixels, sums.absolute);
        }
    }
    add_counts({bad, 0u, 0u}, a.plan.bad);
}

// Adds the sums of the parts of each class, in order, and closes it. A unit is a tile of one class.
template <class Word, bool one_channel>
__global__ void __launch_bounds__(sum_threads) close_classes(const Aggregation a) {
    const std::int64_t n_pixels = a.batch.n_pixels;
    const std::int64_t n_tiles = tiles_of(n_pixels);
    unsigned bad = 0;
    for (std::int64_t unit = blockIdx.x; unit < a.plan.most_classes * n_tiles; unit += gridDim.x) {
        const Closing closing = a.plan.classes[unit / n_tiles];
        if (closing.n_samples == 0) {
            break;
        }
        const Moments of = moments_of(a, closing.of);
        const Columns<1> columns(unit % n_tiles, n_pixels);
        Sums sums;
        load_pivot<Word, 1, one_channel>(a.batch, of, a.plan.order + closing.first, columns, sums);
#pragma unroll 2
        for (std::int64_t i = 0; i < closing.n_parts; ++i) {
            const double* from = a.plan.sums + (closing.first_part + i) * 3 * n_pixels;
            double sum[together];
            double square[together];
            double absolute[together];
            columns.load(from, sum);
            columns.load(from + n_pixels, square);
            columns.load(from + 2 * n_pixels, absolute);
#pragma unroll
            for (int k = 0; k < together; ++k) {
                sums.sum[k] += sum[k];
                sums.square[k] += square[k];
                sums.absolute[k] += absolute[k];
            }
        }
        bad += close_class(of, closing.weights, columns, sums);
    }
    add_counts({bad, 0u, 0u}, a.plan.bad);
}

template <class Word, bool one_channel>
void sum_words(const Aggregation& a, void* stream) {
    constexpr auto size = static_cast<std::int64_t>(sizeof(Word));
    const AggregateBatch& batch = a.batch;
    const auto aligned = [](const void* memory, std::int64_t stride, std::int64_t access) {
        return reinterpret_cast<std::uintptr_t>(memory) % static_cast<std::uintptr_t>(access) == 0 &&
               stride % access == 0;
    };
    constexpr std::int64_t access = size * together;
    constexpr std::int64_t moment = sizeof(double) * together;
    // An even number of pixels: then rows of moments and of sums are whole accesses, too.
    const bool wide = batch.pixel_stride == 1 && batch.n_pixels % together == 0 &&
                      aligned(batch.attributions, batch.sample_stride * size, access) &&
                      aligned(batch.attributions, batch.channel_stride * size, access) &&
                      aligned(a.state.moments[0], 0, moment) && aligned(a.state.moments[1], 0, moment);
    launch(wide ? sum_parts<Word, together, one_channel> : sum_parts<Word, 1, one_channel>,
           blocks_for(a.plan.most_parts * tiles_of(batch.n_pixels)), sum_threads, 0, stream, a);
    if (a.plan.sums != nullptr) {
        launch(close_classes<Word, one_channel>, blocks_for(a.plan.most_classes * tiles_of(batch.n_pixels)),
               sum_threads, 0, stream, a);
    }
}

template <class Word>
void sum_words(const Aggregation& a, void* stream) {
    if (a.batch.n_channels == 1) {
        sum_words<Word, true>(a, stream);
    } else {
        sum_words<Word, false>(a, stream);
    }
}

}  // namespace

std::int64_t aggregate_part_samples(std::int64_t n_samples, std::int64_t n_pixels, std::int64_t enough) {
    const auto parts_of = [](std::int64_t n, std::int64_t length) { return (n + length - 1) / length; };
    std::int64_t length = least_part;
    while (length < n_samples) {
        length *= 2;
    }
    // The fewest blocks that there can be: those of a single class.
    while (length > least_part && parts_of(n_samples, length) * tiles_of(n_pixels) < enough) {
        length /= 2;
    }
    return length;
}

void aggregate(const AggregateBatch& batch, const AggregateState& state, std::int64_t part_samples, void* workspace,
               void* stream) {
    if (batch.n_samples == 0 || batch.n_pixels == 0) {
        return;
    }
    const Aggregation a = planned(batch, state, part_samples, workspace);
    sort_samples(a, stream);
    switch (batch.dtype) {
        case DType::f64:
            sum_words<std::uint64_t>(a, stream);
            break;
        case DType::f32:
            sum_words<std::uint32_t>(a, stream);
            break;
        default:
            sum_words<std::uint16_t>(a, stream);
    }
    commit_batch(a, stream);
}

}  // namespace pixfold::cuda
