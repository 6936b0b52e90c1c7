// The derivative of the normaliser's formula (pixfold/fold_gradient.hpp) for the values that a thread holds.
#pragma once

#include "elements.hpp"
#include "normalise.hpp"
#include "pixfold/fold_gradient.hpp"

namespace pixfold::cuda {

// derivative[k] = the gradient of a pixel over the number of its features.
template <class G, class C, int n>
__device__ void arriving(DType dtype, const G (&images)[n], bool shared, const C (&sharing)[n], C (&derivative)[n]) {
    float gradient[n];
    decode(dtype, images, gradient);
#pragma unroll
    for (int k = 0; k < n; ++k) {
        derivative[k] = static_cast<C>(gradient[k]);
    }
    if (shared) {
#pragma unroll
        for (int k = 0; k < n; ++k) {
            derivative[k] /= sharing[k];
        }
    }
}

// derivative[k], the gradient of a pixel over the number of its features, becomes D of the contract; lifted[k] = x[k]
// and its offset.
template <class C, int n>
__device__ void differentiate(const Formula<C>& f, const LogTable& table, const SlotParameters<C> (&p)[n],
                              const C (&row_scale)[n], const C (&x)[n], C (&lifted)[n], C (&derivative)[n]) {
    C argument[n];
#pragma unroll
    for (int k = 0; k < n; ++k) {
        lifted[k] = f.offset != nullptr ? x[k] + p[k].offset : x[k];
        argument[k] = lifted[k] * row_scale[k];
        if (f.scale != nullptr) {
            derivative[k] = through_scale(derivative[k], p[k].scale);
        }
    }
    if (f.log) {
#pragma unroll
        for (int k = 0; k < n; ++k) {
            derivative[k] = through_log1p(derivative[k], argument[k]);
        }
    }
    const C floor = f.floor();
#pragma unroll
    for (int k = 0; k < n; ++k) {
        const bool still = is_still(x[k], argument[k], floor) || (f.scale != nullptr && p[k].scale == C{0});
        derivative[k] = still ? C{0} : derivative[k];
    }
    if (f.clips()) {
        C y[n];
#pragma unroll
        for (int k = 0; k < n; ++k) {
            y[k] = at_least(floor, argument[k]);
            y[k] = f.log ? log1p(y[k], table) : y[k];
        }
#pragma unroll
        for (int k = 0; k < n; ++k) {
            y[k] = f.scale != nullptr ? (y[k] - p[k].shift) * p[k].scale : y[k];
            derivative[k] = unless_clipped(derivative[k], y[k], f.lo, f.hi);
        }
    }
}

}  // namespace pixfold::cuda
