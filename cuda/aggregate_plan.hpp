// How the samples of a batch are shared out. A block sums a tile of pixels of one part of one class: the samples of a
// class are one part where there are blocks enough to fill a large GPU, else they are split every 2^k samples.
//
// A part's sums are written and read again, 48 bytes per pixel, as much as 12 float32 samples. So large images, whose
// sums go to memory, are not split; those of small ones stay in L2.
#pragma once

#include <cstdint>
#include <vector>

#include "pixfold/aggregate.hpp"

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

// `enough` blocks: tests change it.
AggregatePlan plan_aggregate(const ClassSamples* classes, std::int64_t n_classes, std::int64_t n_pixels,
                             std::int64_t enough = enough_sums);

}  // namespace pixfold::cuda
