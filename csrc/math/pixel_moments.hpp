// The formula of aggregate (pixfold/aggregate.hpp) for one pixel of one class: from sums about a pivot to new moments.
// What is constexpr is also compiled for CUDA devices.
#pragma once

#include <cmath>
#include <cstdint>

#include "isa.hpp"

namespace pixfold::PIXFOLD_ISA {

// Over the samples of the batch: S, Q and A.
struct PixelSums {
    double sum;
    double square;
    double absolute;
};

struct PixelMoments {
    double mean;
    double m2;
    double mean_abs;
};

// 1 / N and n / N.
struct ClassWeights {
    double inverse;
    double kept;

    constexpr ClassWeights(std::int64_t seen, std::int64_t added)
        : inverse(1.0 / static_cast<double>(seen + added)),
          kept(static_cast<double>(seen) / static_cast<double>(seen + added)) {}
};

// m2 and mean_abs are those before, 0 where nothing was seen.
constexpr PixelMoments moments_after(const ClassWeights& w, double pivot, const PixelSums& s, double m2,
                                     double mean_abs) {
    const double shift = s.sum * w.inverse;
    const double added = s.square - s.sum * shift;
    // At least 0 but for rounding.
    return {pivot + shift, m2 + (added > 0.0 ? added : 0.0), mean_abs * w.kept + s.absolute * w.inverse};
}

// Any NaN or infinity among the values is one here too, and sums of finite values that overflow are infinite.
constexpr bool finite(const PixelSums& s, const PixelMoments& after) {
    return s.absolute + s.square + after.m2 < HUGE_VAL;
}

}  // namespace pixfold::PIXFOLD_ISA
