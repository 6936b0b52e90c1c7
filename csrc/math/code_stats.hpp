// Statistics of a feature of packed genotypes, from how often its bits are set. What is constexpr is also compiled for
// CUDA devices.
#pragma once

#include "moments.hpp"

namespace pixfold::PIXFOLD_ISA {

// How often each code is there.
struct CodeNumbers {
    std::int64_t of[3];  // codes 0, 2 and 3
    std::int64_t missing;
};

// From how often the low bit, the high bit and both bits of its codes are set.
constexpr CodeNumbers code_numbers(std::int64_t n_samples, std::int64_t low, std::int64_t high, std::int64_t both) {
    return {{n_samples - low - high + both, high - both, both}, low - both};
}

// The number of copies that codes 0, 2 and 3 stand for.
struct CodeValues {
    float of[3];
};
constexpr CodeValues code_values(std::int32_t copies) {
    return {{static_cast<float>(copies), 1.0f, static_cast<float>(2 - copies)}};
}

// `value` is what each number of copies becomes. Sums are double, where three floats times counts below 2^29 have no
// rounding but that of their sum's size.
constexpr FeatureStats code_stats(const CodeNumbers& numbers, const float (&value)[3], std::int32_t copies) {
    double low = HUGE_VAL;
    double high = -HUGE_VAL;
    double sum = 0.0;
    std::int64_t present = 0;
    for (int c = 0; c < 3; ++c) {
        const double v = static_cast<double>(value[c]);
        const bool there = numbers.of[c] > 0;
        low = there && v < low ? v : low;
        high = there && v > high ? v : high;
        sum += there ? static_cast<double>(numbers.of[c]) * v : 0.0;
        present += numbers.of[c];
    }
    const double mean = sum / static_cast<double>(present > 0 ? present : 1);
    double m2 = 0.0;
    for (int c = 0; c < 3; ++c) {
        const double d = static_cast<double>(value[c]) - mean;
        m2 += numbers.of[c] > 0 ? static_cast<double>(numbers.of[c]) * d * d : 0.0;
    }
    return {low, high, mean, m2, copies == 0 ? numbers.of[0] : numbers.of[2], numbers.missing};
}

}  // namespace pixfold::PIXFOLD_ISA
