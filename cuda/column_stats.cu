// column_stats of dense samples of any type and strides (floats: column_stats_floats.cu): a thread takes a few features
// that lie side by side, or one, down a block of samples, and holds their sums in registers. Threads are numbered along
// the features, then along the blocks, so that few features of many samples fill the device as well as many features of
// few samples.
#include <cmath>

#include "column_stats_floats.hpp"
#include "counts.hpp"
#include "elements.hpp"
#include "launch.hpp"
#include "normalise.hpp"
#include "pixfold/column_stats.hpp"
#include "stats_parts.hpp"
#include "tiles.hpp"

namespace pixfold::cuda {
namespace {

constexpr int step_samples = 8;  // whose loads are in flight together, and which choose a pivot

struct Summing {
    const char* data;
    DType dtype;
    std::int64_t sample_stride;
    std::int64_t feature_stride;
    StatsArguments how;
    bool plain;  // v is x
    LogTable table;
    unsigned long long* counts;
    StatsParts parts;
};

// What a thread knows of its features.
template <class C, int width>
struct Sums {
    double sum[width];     // of v - pivot
    double square[width];  // of (v - pivot)^2
    C pivot[width];
    C lo[width];
    C hi[width];
    int zeros[width];
    int missing[width];
    unsigned chosen = 0;  // bit k: feature k has its pivot
};

struct Odd {
    unsigned negative = 0;
    unsigned infinite = 0;
};

// Element k of the thread's features in sample u of a step is number u * width + k.
template <class T, int width>
using Step = T[step_samples * width];

// Everything is done to a whole step before the next thing, and what is not there is missing: no branch stands between
// the values.
template <class Word, int width>
__device__ void load_whole(const char* at, std::int64_t stride, Step<Word, width>& words) {
#pragma unroll
    for (int u = 0; u < step_samples; ++u) {
        if constexpr (width == 1) {
            words[u] = *reinterpret_cast<const Word*>(at + u * stride);
        } else {
            const auto read = load_once(reinterpret_cast<const Words<Word, width>*>(at + u * stride));
#pragma unroll
            for (int k = 0; k < width; ++k) {
                words[u * width + k] = read.of[k];
            }
        }
    }
}

template <class Word, int width>
__device__ void load_part(const char* at, std::int64_t stride, int samples, int features, Step<Word, width>& words) {
#pragma unroll
    for (int u = 0; u < step_samples; ++u) {
#pragma unroll
        for (int k = 0; k < width; ++k) {
            words[u * width + k] =
                u < samples && k < features ? reinterpret_cast<const Word*>(at + u * stride)[k] : Word{0};
        }
    }
}

template <class C, int width>
__device__ void remove_rest(int samples, int features, Step<C, width>& x, Sums<C, width>& s) {
#pragma unroll
    for (int k = 0; k < width; ++k) {
        s.missing[k] -= step_samples - samples;  // as many will be found
#pragma unroll
        for (int u = 0; u < step_samples; ++u) {
            if (u >= samples || k >= features) {
                x[u * width + k] = static_cast<C>(std::bit_cast<float>(0x7fc00000u));
            }
        }
    }
}

// Counts what is to be counted. Steps of ordinary values, neither negative nor infinite nor missing, are seen at once.
template <class C, int width>
__device__ void count_elements(const Step<C, width>& x, const C (&lift)[width], Sums<C, width>& s, Odd& odd) {
    constexpr C infinity = static_cast<C>(HUGE_VAL);
    bool ordinary = true;
#pragma unroll
    for (int e = 0; e < step_samples * width; ++e) {
        s.zeros[e % width] += x[e] == C{0} ? 1 : 0;
        ordinary = ordinary & (x[e] + lift[e % width] >= C{0}) & (std::fabs(x[e]) < infinity);
    }
    if (ordinary) {
        return;
    }
#pragma unroll
    for (int e = 0; e < step_samples * width; ++e) {
        s.missing[e % width] += x[e] != x[e] ? 1 : 0;
        odd.negative += x[e] + lift[e % width] < C{0} ? 1u : 0u;
        odd.infinite += std::fabs(x[e]) == infinity ? 1u : 0u;
    }
}

// v of x; a v that is not a number although x is spoils the sums at once.
template <class C, int width>
__device__ void make_values(const StatsArguments& how, const LogTable& table, std::int64_t first, int samples,
                            const C (&lift)[width], Step<C, width>& x, Sums<C, width>& s) {
    const C floor = how.clip_below_zero ? C{0} : -static_cast<C>(HUGE_VAL);  // -inf raises nothing
    unsigned there = 0;
    unsigned numbers = 0;
#pragma unroll
    for (int u = 0; u < step_samples; ++u) {
        const C scale = how.row_scale != nullptr && u < samples ? static_cast<C>(how.row_scale[first + u]) : C{1};
#pragma unroll
        for (int k = 0; k < width; ++k) {
            C& value = x[u * width + k];
            there |= value == value ? 1u << (u * width + k) : 0u;
            value = at_least(floor, (value + lift[k]) * scale);
        }
    }
    if (how.log) {
#pragma unroll
        for (C& value : x) {
            value = log1p(value, table);
        }
    }
#pragma unroll
    for (int e = 0; e < step_samples * width; ++e) {
        numbers |= x[e] == x[e] ? 1u << e : 0u;
    }
    if (there != numbers) {
#pragma unroll
        for (int e = 0; e < step_samples * width; ++e) {
            if (((there & ~numbers) >> e & 1u) != 0) {
                s.sum[e % width] = s.square[e % width] = static_cast<double>(x[e]);
            }
        }
    }
}

// Chooses the pivot of features that have none, from the values of a step, where there are any.
template <class C, int width>
__device__ void choose_pivots(const Step<C, width>& v, Sums<C, width>& s) {
#pragma unroll
    for (int k = 0; k < width; ++k) {
        C first = v[k];
        C low = static_cast<C>(HUGE_VAL);
        C high = -low;
#pragma unroll
        for (int u = 0; u < step_samples; ++u) {
            const C value = v[u * width + k];
            first = first == first ? first : value;
            low = std::fmin(low, value);
            high = std::fmax(high, value);
        }
        if (first == first && (s.chosen >> k & 1u) == 0) {
            const C size = -low > high ? -low : high;
            s.pivot[k] = (high - low) * C{8} < size ? first : C{0};
            s.chosen |= 1u << k;
        }
    }
}

template <class C, int width>
__device__ void add_values(const Step<C, width>& v, Sums<C, width>& s) {
#pragma unroll
    for (int k = 0; k < width; ++k) {
        const double pivot = static_cast<double>(s.pivot[k]);
#pragma unroll
        for (int u = 0; u < step_samples; ++u) {
            const C value = v[u * width + k];
            // A missing value is the pivot, which adds nothing.
            const double d = static_cast<double>(value == value ? value : s.pivot[k]) - pivot;
            s.sum[k] += d;
            s.square[k] = std::fma(d, d, s.square[k]);
            s.lo[k] = std::fmin(s.lo[k], value);
            s.hi[k] = std::fmax(s.hi[k], value);
        }
    }
}

// Blocks of threads that a multiprocessor is to hold: as many as the registers of their sums leave room for.
template <class C, int width>
constexpr int resident = width > 1 ? 2 : (sizeof(C) == 4 ? 4 : 3);

template <class Word, class C, int width>
__global__ void __launch_bounds__(block_threads, (resident<C, width>)) sum_blocks(const Summing a) {
    __shared__ LogTable table;
    share(a.table, table);
    const StatsParts& parts = a.parts;
    const std::int64_t n_groups = (parts.n_features + width - 1) / width;
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * block_threads;
    Odd odd;
    for (std::int64_t unit = blockIdx.x * std::int64_t{block_threads} + threadIdx.x; unit < n_groups * parts.n_blocks;
         unit += stride) {
        const std::int64_t block = unit / n_groups;
        const std::int64_t first = unit % n_groups * width;
        const int n = parts.n_features - first < width ? static_cast<int>(parts.n_features - first) : width;
        const std::int64_t end = parts.first(block + 1);
        Sums<C, width> s;
        C lift[width];
#pragma unroll
        for (int k = 0; k < width; ++k) {
            s.sum[k] = s.square[k] = 0.0;
            s.pivot[k] = C{0};
            s.lo[k] = static_cast<C>(HUGE_VAL);
            s.hi[k] = -s.lo[k];
            s.zeros[k] = s.missing[k] = 0;
            lift[k] = a.how.offset != nullptr && k < n ? static_cast<C>(a.how.offset[first + k]) : C{0};
        }
        for (std::int64_t i = parts.first(block); i < end; i += step_samples) {
            const char* at = a.data + i * a.sample_stride + first * a.feature_stride;
            const int samples = end - i < step_samples ? static_cast<int>(end - i) : step_samples;
            const bool whole = samples == step_samples && n == width;
            Word words[step_samples * width];
            if (whole) {
                load_whole<Word, width>(at, a.sample_stride, words);
            } else {
                load_part<Word, width>(at, a.sample_stride, samples, n, words);
            }
            C v[step_samples * width];
            decode(a.dtype, words, v);
            if (!whole) {
                remove_rest<C, width>(samples, n, v, s);
            }
            count_elements<C, width>(v, lift, s, odd);
            if (!a.plain) {
                make_values<C, width>(a.how, table, i, samples, lift, v, s);
            }
            if (s.chosen != (1u << width) - 1u) {
                choose_pivots<C, width>(v, s);
            }
            add_values<C, width>(v, s);
        }
#pragma unroll
        for (int k = 0; k < width; ++k) {
            if (k < n) {
                const std::int64_t here = end - parts.first(block) - s.missing[k];
                const double shift = s.sum[k] / static_cast<double>(here > 0 ? here : 1);
                const double m2 = s.square[k] - s.sum[k] * shift;
                parts.put(block, first + k,
                          {static_cast<double>(s.lo[k]), static_cast<double>(s.hi[k]),
                           static_cast<double>(s.pivot[k]) + shift, m2 < 0.0 ? 0.0 : m2, s.zeros[k], s.missing[k]});
            }
        }
    }
    add_counts({odd.negative, odd.infinite}, a.counts);
}

}  // namespace

std::int64_t column_stats_dense_workspace(const DenseView& x) {
    return bytes_of(parts_of(x.n_samples, x.n_features, device_stats_block, nullptr, {}));
}

void column_stats_dense(const DenseView& x, const StatsArguments& how, const StatsOutput& out,
                        unsigned long long* counts, void* workspace, void* stream) {
    if (x.n_features == 0) {
        return;
    }
    const StatsParts parts = parts_of(x.n_samples, x.n_features, device_stats_block, workspace, out);
    if (is_plain_floats(x, how)) {
        sum_floats(x, how, parts, counts, stream);
        merge_parts(parts, stream);
        return;
    }
    const bool plain = !how.log && !how.clip_below_zero && how.offset == nullptr && how.row_scale == nullptr;
    const Summing summing{static_cast<const char*>(x.data),
                          x.dtype,
                          x.sample_stride,
                          x.feature_stride,
                          how,
                          plain,
                          log_table(),
                          counts,
                          parts};
    with_storage(x.dtype, [&](auto storage) {
        using Word = typename decltype(storage)::Word;
        using C = typename decltype(storage)::Compute;
        constexpr int together = 16 / static_cast<int>(sizeof(C));
        constexpr auto size = static_cast<std::int64_t>(sizeof(Word));
        const bool wide = x.feature_stride == size && whole_words(x.data, x.sample_stride, size);
        const std::int64_t groups = wide ? (x.n_features + together - 1) / together : x.n_features;
        const std::int64_t units = groups * summing.parts.n_blocks;
        launch(wide ? sum_blocks<Word, C, together> : sum_blocks<Word, C, 1>,
               blocks_for((units + block_threads - 1) / block_threads), block_threads, 0, stream, summing);
    });
    merge_parts(parts, stream);
}

}  // namespace pixfold::cuda
