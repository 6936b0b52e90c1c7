// column_stats of dense samples: a thread takes a few features that lie side by side, or one, down a block of samples,
// and holds their sums in registers. Threads are numbered along the features, then along the blocks, so that few
// features of many samples fill the device as well as many features of few samples.
#include <cmath>

#include "column_stats.hpp"
#include "counts.hpp"
#include "elements.hpp"
#include "launch.hpp"
#include "normalise.hpp"
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
    C pivot[width];        // NaN: not chosen yet
    C lo[width];
    C hi[width];
    int zeros[width];
    int missing[width];
};

struct Odd {
    unsigned negative = 0;
    unsigned infinite = 0;
};

// Counts what is to be counted of x, and makes v of it. What is missing is NaN afterwards; a v that is not a number
// although x is spoils the sums at once.
template <class C, int width>
__device__ void make_value(const Summing& a, const LogTable& table, C lift, C scale, int k, C& x, Sums<C, width>& s,
                           Odd& odd) {
    const bool missing = x != x;
    const C lifted = x + lift;
    s.zeros[k] += x == C{0} ? 1 : 0;
    s.missing[k] += missing ? 1 : 0;
    odd.negative += lifted < C{0} ? 1u : 0u;
    odd.infinite += std::fabs(x) == static_cast<C>(HUGE_VAL) ? 1u : 0u;
    if (a.plain) {
        return;
    }
    const C floor = a.how.clip_below_zero ? C{0} : -static_cast<C>(HUGE_VAL);  // -inf raises nothing
    x = at_least(floor, lifted * scale);
    x = a.how.log ? log1p(x, table) : x;
    if (x != x && !missing) {
        s.sum[k] = s.square[k] = static_cast<double>(x);
    }
}

// Chooses the pivot of a feature from the values of a step, if there are any.
template <class C, int width>
__device__ C pivot_of(const C (&v)[step_samples * width], int k) {
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
    const C size = -low > high ? -low : high;
    return first != first || (high - low) * C{8} < size ? first : C{0};
}

template <class C, int width>
__device__ void add_value(C v, int k, Sums<C, width>& s) {
    // A missing value is the pivot, which adds nothing.
    const double d = static_cast<double>(v == v ? v : s.pivot[k]) - static_cast<double>(s.pivot[k]);
    s.sum[k] += d;
    s.square[k] = std::fma(d, d, s.square[k]);
    s.lo[k] = std::fmin(s.lo[k], v);
    s.hi[k] = std::fmax(s.hi[k], v);
}

// words[u * width + k] = element k of the thread's features in sample i + u; where there is none, 0.
template <class Word, int width>
__device__ void load_step(const Summing& a, const char* at, std::int64_t left, int n,
                          Word (&words)[step_samples * width]) {
#pragma unroll
    for (int u = 0; u < step_samples; ++u) {
        const char* sample = at + u * a.sample_stride;
        if (width > 1 && u < left && n == width) {
            const auto read = load_once(reinterpret_cast<const Words<Word, width>*>(sample));
#pragma unroll
            for (int k = 0; k < width; ++k) {
                words[u * width + k] = read.of[k];
            }
            continue;
        }
#pragma unroll
        for (int k = 0; k < width; ++k) {
            words[u * width + k] =
                u < left && k < n ? *reinterpret_cast<const Word*>(sample + k * a.feature_stride) : Word{0};
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
            s.pivot[k] = static_cast<C>(std::bit_cast<float>(0x7fc00000u));
            s.lo[k] = static_cast<C>(HUGE_VAL);
            s.hi[k] = -s.lo[k];
            s.zeros[k] = s.missing[k] = 0;
            lift[k] = a.how.offset != nullptr && k < n ? static_cast<C>(a.how.offset[first + k]) : C{0};
        }
        for (std::int64_t i = parts.first(block); i < end; i += step_samples) {
            Word words[step_samples * width];
            load_step<Word, width>(a, a.data + i * a.sample_stride + first * a.feature_stride, end - i, n, words);
            C v[step_samples * width];
            decode(a.dtype, words, v);
#pragma unroll
            for (int u = 0; u < step_samples; ++u) {
                const bool there = i + u < end;
                const C scale = a.how.row_scale != nullptr && there ? static_cast<C>(a.how.row_scale[i + u]) : C{1};
#pragma unroll
                for (int k = 0; k < width; ++k) {
                    if (there && k < n) {
                        make_value(a, table, lift[k], scale, k, v[u * width + k], s, odd);
                    } else {
                        v[u * width + k] = static_cast<C>(std::bit_cast<float>(0x7fc00000u));
                    }
                }
            }
#pragma unroll
            for (int k = 0; k < width; ++k) {
                if (s.pivot[k] != s.pivot[k]) {
                    s.pivot[k] = pivot_of<C, width>(v, k);
                }
            }
#pragma unroll
            for (int u = 0; u < step_samples; ++u) {
#pragma unroll
                for (int k = 0; k < width; ++k) {
                    if (s.pivot[k] == s.pivot[k]) {
                        add_value(v[u * width + k], k, s);
                    }
                }
            }
        }
#pragma unroll
        for (int k = 0; k < width; ++k) {
            if (k < n) {
                const std::int64_t here = end - parts.first(block) - s.missing[k];
                const double shift = s.sum[k] / static_cast<double>(here > 0 ? here : 1);
                const double m2 = s.square[k] - s.sum[k] * shift;
                parts.put(block, first + k,
                          {static_cast<double>(s.lo[k]), static_cast<double>(s.hi[k]),
                           (here > 0 && s.pivot[k] == s.pivot[k] ? static_cast<double>(s.pivot[k]) : 0.0) + shift,
                           m2 < 0.0 ? 0.0 : m2, s.zeros[k], s.missing[k]});
            }
        }
    }
    add_counts({odd.negative, odd.infinite}, a.counts);
}

StatsParts dense_parts(const DenseView& x, void* workspace, const StatsOutput& out) {
    return parts_of(x.n_samples, x.n_features, device_stats_block, workspace, out);
}

}  // namespace

std::int64_t column_stats_dense_workspace(const DenseView& x) { return bytes_of(dense_parts(x, nullptr, {})); }

void column_stats_dense(const DenseView& x, const StatsArguments& how, const StatsOutput& out,
                        unsigned long long* counts, void* workspace, void* stream) {
    if (x.n_features == 0) {
        return;
    }
    const bool plain = !how.log && !how.clip_below_zero && how.offset == nullptr && how.row_scale == nullptr;
    const Summing summing{
        static_cast<const char*>(x.data), x.dtype, x.sample_stride, x.feature_stride, how, plain, log_table(), counts,
        dense_parts(x, workspace, out)};
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
    merge_parts(summing.parts, stream);
}

}  // namespace pixfold::cuda
