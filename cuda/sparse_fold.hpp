// What the kernels of fold_csr know of a call, and one stored value on its way to its pixel.
#pragma once

#include "elements.hpp"
#include "normalise.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::cuda {

template <class C, class O>
struct Scattering {
    const void* values;
    DType dtype;
    const void* indices;
    bool wide_indices;
    const std::int64_t* row_start;
    const std::int64_t* sample;  // null: image i is of row i
    std::int64_t n_samples;
    std::int64_t n_features;
    std::int64_t first_sample;
    std::int64_t end_sample;
    Slots slots;
    const std::int32_t* slot_of_feature;
    const std::int32_t* pixel_of_feature;
    bool normalise;
    Formula<C> formula;
    LogTable table;
    const double* row_scale;
    const O* background;  // null: zeros
    O* out;
    unsigned long long* counts;
    std::int64_t tile_pixels;
    std::int64_t n_tiles;
};

struct MetInRows : Met {
    unsigned outside = 0;
};

template <class C, class O>
__device__ std::int64_t index_at(const Scattering<C, O>& a, std::int64_t e) {
    return a.wide_indices ? static_cast<const std::int64_t*>(a.indices)[e]
                          : static_cast<const std::int32_t*>(a.indices)[e];
}

template <class C, class O>
__device__ std::int64_t row_of(const Scattering<C, O>& a, std::int64_t i) {
    return a.sample != nullptr ? a.sample[i] : i;
}

template <class C, class O>
__device__ C row_scale_of(const Scattering<C, O>& a, std::int64_t i) {
    return a.row_scale != nullptr ? static_cast<C>(a.row_scale[i]) : C{1};
}

// An entry's pixel and value there. A pixel of -1: the entry has none, or none in [first, end). Of those that look at
// an entry, one counts it where its index is out of range.
template <class C>
struct Placed {
    std::int64_t pixel;
    C value;
};

template <class Word, class C, class O>
__device__ Placed<C> place(const Scattering<C, O>& a, const LogTable& table, std::int64_t e, C row_scale,
                           std::int64_t first, std::int64_t end, bool counts_outside, MetInRows& met) {
    const std::int64_t j = index_at(a, e);
    if (j < 0 || j >= a.n_features) {
        met.outside += counts_outside ? 1u : 0u;
        return {-1, C{}};
    }
    const std::int64_t pixel = a.pixel_of_feature != nullptr ? a.pixel_of_feature[j] : j;
    if (pixel < first || pixel >= end) {
        return {-1, C{}};
    }
    const C x = decode_one<C>(a.dtype, static_cast<const Word*>(a.values)[e]);
    if (!a.normalise) {
        return {pixel, x};
    }
    const std::int32_t slot = a.slot_of_feature != nullptr ? a.slot_of_feature[j] : static_cast<std::int32_t>(j);
    return {pixel, normalise_one(a.formula, table, slot, row_scale, x, met)};
}

}  // namespace pixfold::cuda
