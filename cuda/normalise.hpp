// The normaliser's formula (pixfold/fold.hpp) for the values that a thread holds in registers.
#pragma once

#include <cmath>

#include "math/formula.hpp"
#include "math/log1p.hpp"
#include "simt.hpp"

namespace pixfold::cuda {

// The table of log1p in shared memory, where every lane of a warp reads its own entry at once. It comes with the
// kernel's arguments: a constant of the host's is no array on the device.
struct LogTable {
    float reciprocal[8];
    float minus_log[8];
};

inline LogTable log_table() {
    LogTable table{};
    for (int k = 0; k < 8; ++k) {
        table.reciprocal[k] = cuda::reciprocal[k];
        table.minus_log[k] = cuda::minus_log[k];
    }
    return table;
}

// Every thread of the block calls this once, before it takes a logarithm.
__device__ inline void share(const LogTable& from, LogTable& shared) {
    if (threadIdx.x < 8) {
        shared.reciprocal[threadIdx.x] = from.reciprocal[threadIdx.x];
        shared.minus_log[threadIdx.x] = from.minus_log[threadIdx.x];
    }
    __syncthreads();
}

// What log1p_by_table asks for.
struct SharedTable {
    const LogTable& table;

    __host__ __device__ static float fused(float a, float b, float c) { return std::fmaf(a, b, c); }
    __host__ __device__ float reciprocal(std::uint32_t index) const { return table.reciprocal[index & 7u]; }
    __host__ __device__ float minus_log(std::uint32_t index) const { return table.minus_log[index & 7u]; }
};

// Not inlined: kernels take the logarithms of many values in a row, and few of them are irregular.
__device__ __attribute__((noinline)) inline float log1p_rarely(float x) { return log1p_irregular(x); }

__device__ inline float log1p(float x, const LogTable& table) {
    return std::bit_cast<std::uint32_t>(x) < regular_limit32 ? log1p_by_table(x, SharedTable{table}) : log1p_rarely(x);
}
__device__ inline double log1p(double x, const LogTable&) {
    return std::bit_cast<std::uint64_t>(x) < regular_limit64 ? log1p_by_division_double(x) : std::log1p(x);
}

// The parameters of one slot.
template <class C>
struct SlotParameters {
    C offset;
    C shift;
    C scale;
};

// Of slot -1, which is none, nothing is read.
template <class C>
__device__ SlotParameters<C> parameters_of(const Formula<C>& f, std::int32_t slot) {
    SlotParameters<C> p{};
    if (slot >= 0) {
        p.offset = f.offset != nullptr ? f.offset[slot] : C{0};
        if (f.scale != nullptr) {
            p.shift = f.shift[slot];
            p.scale = f.scale[slot];
        }
    }
    return p;
}

// How many NaN and negative values a thread has met.
struct Met {
    unsigned missing = 0;
    unsigned negative = 0;
};

// value[k] = the formula of it with the parameters of slot[k], and 0 where slot[k] is -1.
template <class C, int n>
__device__ void normalise(const Formula<C>& f, const LogTable& table, const std::int32_t (&slot)[n],
                          const SlotParameters<C> (&p)[n], C row_scale, C (&value)[n], Met& met) {
    C g[n];
    const C floor = f.floor();
#pragma unroll
    for (int k = 0; k < n; ++k) {
        // x + 0 would be 0 for x = -0: nothing is added where there is no offset.
        const C lifted = f.offset != nullptr ? value[k] + p[k].offset : value[k];
        const bool counts = slot[k] >= 0;
        met.missing += counts && value[k] != value[k] ? 1u : 0u;
        met.negative += counts && lifted < C{0} ? 1u : 0u;
        g[k] = at_least(floor, lifted * row_scale);
    }
    if (f.log) {
#pragma unroll
        for (int k = 0; k < n; ++k) {
            g[k] = log1p(g[k], table);
        }
    }
#pragma unroll
    for (int k = 0; k < n; ++k) {
        const C y = f.scale != nullptr ? scaled(g[k], p[k].shift, p[k].scale) : g[k];
        const C clipped = at_most(f.hi, at_least(f.lo, y));
        value[k] = slot[k] < 0 ? C{0} : (value[k] != value[k] ? f.fill[slot[k]] : clipped);
    }
}

// The same of one value, with the parameters read for it alone.
template <class C>
__device__ C normalise_one(const Formula<C>& f, const LogTable& table, std::int32_t slot, C row_scale, C x, Met& met) {
    const std::int32_t slots[1] = {slot};
    const SlotParameters<C> parameters[1] = {parameters_of(f, slot)};
    C value[1] = {x};
    normalise(f, table, slots, parameters, row_scale, value, met);
    return value[0];
}

}  // namespace pixfold::cuda
