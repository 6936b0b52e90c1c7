// How the samples of a batch are shared out. A block sums a tile of pixels of one part of one class: the samples of a
// class are one part where there are blocks enough to fill a large GPU, else they are split every 2^k samples.
//
// A part's sums are written and read again, 48 bytes per pixel, as much as 12 float32 samples. So large images, whose
// sums go to memory, are not split; those of small ones stay in L2.
#pragma once

#include <cstdint>
#include <vector>

#include "pixfold/aggregate.hpp"
#include "tiles.hpp"

namespace pixfold::cuda {

constexpr std::int64_t enough_sums = 1024;  // blocks
constexpr std::int64_t least_part = 16;     // samples

// Samples [first, first + n_samples) of the class with number `of`.
struct Part {
    std::int64_t of;
    std::int64_t first;
    std::int64_t n_samples;
};

struct PlannedClass {
    ClassSamples samples;
    std::int64_t first_part;
    std::int64_t n_parts;  // in order
};

struct AggregatePlan {
    std::vector<PlannedClass> classes;
    std::vector<Part> parts;  // class after class
};

// `enough` blocks: tests lower it.
inline AggregatePlan plan_aggregate(const ClassSamples* classes, std::int64_t n_classes, std::int64_t n_pixels,
                                    std::int64_t enough = enough_sums) {
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

}  // namespace pixfold::cuda
