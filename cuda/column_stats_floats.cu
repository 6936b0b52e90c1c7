// A thread takes one feature down a block of samples. Waiting for memory is what costs: while the values of a step are
// added, those of the next one are on their way, and neither calls nor branches for rare values take registers from the
// loop. A step in which the logarithm of a value is not regular is read again and added one by one; so is what is left
// at the end of a block. Either way the sums of a feature are taken in one order, with one rounding each.
#include <cmath>

#include "column_stats_floats.hpp"
#include "counts.hpp"
#include "launch.hpp"
#include "math/elements.hpp"
#include "normalise.hpp"
#include "words.hpp"

namespace pixfold::cuda {
namespace {

constexpr int step = 8;  // samples whose loads are in flight together, and which choose a pivot

template <bool log>
constexpr int threads = log ? 256 : 128;
// Blocks per multiprocessor: 64 registers, 80 for a logarithm with an offset.
template <bool log, bool lifted>
constexpr int resident = (log && lifted ? 768 : 1024) / threads<log>;

struct Summing {
    const char* data;
    std::int64_t sample_stride;
    const double* offset;
    float floor;
    LogTable table;
    StatsParts parts;
    unsigned long long* counts;
};

struct Sums {
    double sum = 0.0;     // of v - pivot
    double square = 0.0;  // of (v - pivot)^2
    float pivot = 0.0f;
    float lo = HUGE_VALF;
    float hi = -HUGE_VALF;
    int zeros = 0;
    int missing = 0;
    bool chosen = false;

    // A NaN moves neither limit.
    __device__ void add(float v, double from) {
        const double d = static_cast<double>(v) - from;
        sum += d;
        square = std::fma(d, d, square);
        lo = std::fmin(lo, v);
        hi = std::fmax(hi, v);
    }
};

struct Odd {
    unsigned negative = 0;
    unsigned infinite = 0;
};

// The values of a step that a pivot is chosen from, as they come.
struct Spread {
    float first = std::bit_cast<float>(0x7fc00000u);
    float low = HUGE_VALF;
    float high = -HUGE_VALF;

    __device__ void see(float v) {
        first = first == first ? first : v;
        low = std::fmin(low, v);
        high = std::fmax(high, v);
    }
    __device__ void choose(Sums& s) const {
        if (first == first) {
            const float size = -low > high ? -low : high;
            s.pivot = (high - low) * 8.0f < size ? first : 0.0f;
            s.chosen = true;
        }
    }
};

__device__ inline float value_at(const char* at, std::int64_t i, std::int64_t stride) {
    return *reinterpret_cast<const float*>(at + i * stride);
}

template <bool log, bool lifted>
__device__ float exactly(const Summing& a, const LogTable& table, float x, float lift) {
    if constexpr (log) {
        const float argument = x + lift;  // x + 0 of -0 is 0
        const float raised = at_least(a.floor, argument);
        // Not a call: its arguments would go by the stack.
        return std::bit_cast<std::uint32_t>(raised) < regular_limit32 ? log1p_by_table(raised, SharedTable{table})
                                                                      : log1p_irregular(raised);
    } else {
        return lifted ? x + lift : x;
    }
}

// n samples from `at` on, one after the other.
template <bool log, bool lifted>
__device__ void add_slowly(const Summing& a, const LogTable& table, const char* at, int n, float lift, Sums& s,
                           Odd& odd) {
    if (!s.chosen) {
        Spread spread;
#pragma unroll 1
        for (int u = 0; u < n; ++u) {
            spread.see(exactly<log, lifted>(a, table, value_at(at, u, a.sample_stride), lift));
        }
        spread.choose(s);
    }
#pragma unroll 1
    for (int u = 0; u < n; ++u) {
        const float x = value_at(at, u, a.sample_stride);
        const float v = exactly<log, lifted>(a, table, x, lift);
        s.zeros += x == 0.0f ? 1 : 0;
        s.missing += x != x ? 1 : 0;
        odd.negative += x + lift < 0.0f ? 1u : 0u;
        odd.infinite += std::fabs(x) == HUGE_VALF ? 1u : 0u;
        if (v == v) {
            s.add(v, static_cast<double>(s.pivot));
        } else if (x == x) {
            s.sum = s.square = static_cast<double>(v);  // no number although x is one: spoils the sums
        }
    }
}

// A whole step, whose values are here. Whether it could be added: not where a logarithm is taken of what is neither
// regular nor missing.
template <bool log, bool lifted>
__device__ bool add_step(const LogTable& table, const float (&x)[step], float lift, Sums& s, Odd& odd) {
    float v[step];
    bool ordinary = true;
    bool possible = true;
#pragma unroll
    for (int u = 0; u < step; ++u) {
        v[u] = lifted ? x[u] + lift : x[u];
        const bool regular = log ? std::bit_cast<std::uint32_t>(v[u]) < regular_limit32 : std::fabs(v[u]) < HUGE_VALF;
        ordinary = ordinary && regular;
        possible = possible && (!log || regular || x[u] != x[u]);
    }
    if (!possible) {
        return false;
    }
#pragma unroll
    for (int u = 0; u < step; ++u) {
        s.zeros += x[u] == 0.0f ? 1 : 0;
        if constexpr (log) {
            v[u] = log1p_by_table(v[u], SharedTable{table});  // NaN of NaN
        } else {
            odd.negative += v[u] < 0.0f ? 1u : 0u;
        }
    }
    if (!s.chosen) {
        Spread spread;
#pragma unroll
        for (int u = 0; u < step; ++u) {
            spread.see(v[u]);
        }
        spread.choose(s);
    }
    const double pivot = static_cast<double>(s.pivot);
    if (ordinary) {
#pragma unroll
        for (int u = 0; u < step; ++u) {
            s.add(v[u], pivot);
        }
        return true;
    }
#pragma unroll
    for (int u = 0; u < step; ++u) {
        s.missing += x[u] != x[u] ? 1 : 0;
        odd.infinite += std::fabs(x[u]) == HUGE_VALF ? 1u : 0u;
        if (v[u] == v[u]) {
            s.add(v[u], pivot);
        } else if (lifted && x[u] == x[u]) {
            s.sum = s.square = static_cast<double>(v[u]);  // infinities of both signs
        }
    }
    return true;
}

template <bool log, bool lifted>
__global__ void __launch_bounds__(threads<log>, (resident<log, lifted>)) sum_blocks(const Summing a) {
    __shared__ LogTable table;
    share(a.table, table);
    const StatsParts& parts = a.parts;
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * threads<log>;
    Odd odd;
    for (std::int64_t unit = blockIdx.x * std::int64_t{threads<log>} + threadIdx.x;
         unit < parts.n_features * parts.n_blocks; unit += stride) {
        const std::int64_t block = unit / parts.n_features;
        const std::int64_t feature = unit % parts.n_features;
        const float lift = lifted ? static_cast<float>(a.offset[feature]) : 0.0f;
        const int n = static_cast<int>(parts.first(block + 1) - parts.first(block));
        const char* at =
            a.data + parts.first(block) * a.sample_stride + feature * static_cast<std::int64_t>(sizeof(float));
        Sums s;
        float next[step] = {};
        const auto ask = [&](const char* from) {
#pragma unroll
            for (int u = 0; u < step; ++u) {
                next[u] = load_once(reinterpret_cast<const float*>(from + u * a.sample_stride));
            }
        };
        if (n >= step) {
            ask(at);
        }
        int left = n;
        for (; left >= step; left -= step, at += step * a.sample_stride) {
            float x[step];
#pragma unroll
            for (int u = 0; u < step; ++u) {
                x[u] = next[u];
            }
            if (left >= 2 * step) {
                ask(at + step * a.sample_stride);
            }
            if (!add_step<log, lifted>(table, x, lift, s, odd)) {
                add_slowly<log, lifted>(a, table, at, step, lift, s, odd);
            }
        }
        add_slowly<log, lifted>(a, table, at, left, lift, s, odd);
        const int here = n - s.missing;
        const double shift = s.sum / static_cast<double>(here > 0 ? here : 1);
        const double m2 = s.square - s.sum * shift;
        parts.put(block, feature,
                  {static_cast<double>(s.lo), static_cast<double>(s.hi), static_cast<double>(s.pivot) + shift,
                   m2 < 0.0 ? 0.0 : m2, s.zeros, s.missing});
    }
    add_counts({odd.negative, odd.infinite}, a.counts);
}

template <bool log>
void sum_typed(const Summing& a, void* stream) {
    const std::int64_t units = a.parts.n_features * a.parts.n_blocks;
    launch(a.offset != nullptr ? sum_blocks<log, true> : sum_blocks<log, false>,
           blocks_for((units + threads<log> - 1) / threads<log>), threads<log>, 0, stream, a);
}

}  // namespace

bool is_plain_floats(const DenseView& x, const StatsArguments& how) {
    return x.dtype == DType::f32 && x.feature_stride == sizeof(float) && how.row_scale == nullptr &&
           (how.log || !how.clip_below_zero);
}

void sum_floats(const DenseView& x, const StatsArguments& how, const StatsParts& parts, unsigned long long* counts,
                void* stream) {
    const float floor = how.clip_below_zero ? 0.0f : -HUGE_VALF;
    const Summing summing{
        static_cast<const char*>(x.data), x.sample_stride, how.offset, floor, log_table(), parts, counts};
    if (how.log) {
        sum_typed<true>(summing, stream);
    } else {
        sum_typed<false>(summing, stream);
    }
}

}  // namespace pixfold::cuda
