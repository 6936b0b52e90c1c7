// Means and sums of squared differences: how kernels merge them, and how they hand over a feature's statistics. What is
// constexpr is also compiled for CUDA devices.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "isa.hpp"
#include "pixfold/column_stats.hpp"

namespace pixfold::PIXFOLD_ISA {

// Chan, Golub and LeVeque (1983): `added` values with their own mean and M2 join `before` others. `share` is
// added / (before + added). The operations and their order are those of ColumnStats.merge, for the same bits.
constexpr void merge_moments(double before, double share, double added_mean, double added_m2, double& mean,
                             double& m2) {
    const double delta = before > 0.0 ? added_mean - mean : 0.0;
    m2 = m2 + added_m2 + delta * delta * before * share;
    mean = before > 0.0 ? mean + delta * share : added_mean;
}

// One feature's statistics over some samples.
struct FeatureStats {
    double min;
    double max;
    double mean;
    double m2;
    std::int64_t zeros;
    std::int64_t missing;
};

inline constexpr FeatureStats no_stats{HUGE_VAL, -HUGE_VAL, 0.0, 0.0, 0, 0};

// Adds those of `added_samples` more samples to those of `samples`.
constexpr void merge_stats(FeatureStats& all, std::int64_t samples, const FeatureStats& added,
                           std::int64_t added_samples) {
    const double before = static_cast<double>(samples - all.missing);
    const double here = static_cast<double>(added_samples - added.missing);
    all.min = added.min < all.min ? added.min : all.min;
    all.max = added.max > all.max ? added.max : all.max;
    all.zeros += added.zeros;
    all.missing += added.missing;
    if (here > 0.0) {
        merge_moments(before, here / (before + here), added.mean, added.m2, all.mean, all.m2);
    }
}

constexpr void write_stats(const FeatureStats& s, std::int64_t samples, std::int64_t j, const StatsOutput& out) {
    const double nan = std::bit_cast<double>(std::uint64_t{0x7ff8000000000000u});
    const bool any = samples > s.missing;
    out.count[j] = samples - s.missing;
    out.missing[j] = s.missing;
    out.zeros[j] = s.zeros;
    out.min[j] = any ? s.min : nan;
    out.max[j] = any ? s.max : nan;
    out.mean[j] = any ? s.mean : nan;
    out.m2[j] = any ? s.m2 : 0.0;
}

}  // namespace pixfold::PIXFOLD_ISA
