// Batches of attributions, what moments they leave, and moments taken in two passes to compare them with.
#pragma once

#include <cstring>
#include <functional>
#include <vector>

#include "checks.hpp"
#include "matrices.hpp"
#include "pixfold/aggregate.hpp"

namespace pixfold::tests {

inline constexpr DType attribution_dtypes[] = {DType::f32, DType::f64, DType::f16, DType::bf16};

// An op under test: the batch, and how many samples it has.
using Aggregator = std::function<bool(const AggregateArguments&, std::int64_t)>;

// Moments of every class: two places for each, in buffers of their own, of which `at` holds the current one.
struct State {
    std::vector<std::int64_t> count;
    std::vector<int> at;
    std::vector<std::vector<double>> moments[2];

    State(std::int64_t n_classes, std::int64_t n_pixels)
        : count(static_cast<std::size_t>(n_classes)), at(static_cast<std::size_t>(n_classes)) {
        for (auto& side : moments) {
            side.assign(static_cast<std::size_t>(n_classes),
                        std::vector<double>(static_cast<std::size_t>(3 * n_pixels), nan));  // never read before written
        }
    }
    const std::vector<double>& of(std::int64_t k) const {
        return moments[at[static_cast<std::size_t>(k)]][static_cast<std::size_t>(k)];
    }
    bool same_bits(const State& other) const {
        bool same = count == other.count;
        for (std::size_t k = 0; k < count.size() && same; ++k) {
            const auto& mine = of(static_cast<std::int64_t>(k));
            const auto& theirs = other.of(static_cast<std::int64_t>(k));
            same = std::memcmp(mine.data(), theirs.data(), mine.size() * sizeof(double)) == 0;
        }
        return same;
    }
};

// Random attributions (n_samples rows of n_channels * n_pixels), labels, and a mark on most samples. Samples without it
// are NaN: nothing may come of reading them.
struct Batches {
    Matrix x;
    std::int64_t n_channels, n_pixels, n_classes;
    std::vector<std::int64_t> labels;
    std::vector<char> keep;
    Dense dense;

    Batches(DType dtype, std::int64_t n, std::int64_t channels, std::int64_t pixels, std::int64_t classes)
        : x(make_matrix(dtype, n, channels * pixels, 5, false, true)),
          n_channels(channels),
          n_pixels(pixels),
          n_classes(classes),
          dense(mark(n), Storage::packed) {}

    const Matrix& mark(std::int64_t n) {
        for (std::int64_t i = 0; i < n; ++i) {
            labels.push_back(n_classes > 2 ? (i * 7) % (n_classes - 1) : i % n_classes);  // the last of three has none
            keep.push_back(i % 5 != 3 ? 1 : 0);
            for (std::int64_t j = 0; j < x.n_features && keep.back() == 0; ++j) {
                x.values[static_cast<std::size_t>(i * x.n_features + j)] = nan;
            }
        }
        return x;
    }

    // Samples [first, first + n) as a batch of their own; whether all was finite.
    bool add(State& state, std::int64_t first, std::int64_t n, const Aggregator& aggregate) const {
        const char* data =
            static_cast<const char*>(dense.view().data) + first * n_channels * n_pixels * size_of(x.dtype);
        std::vector<std::vector<std::int64_t>> samples(static_cast<std::size_t>(n_classes));
        for (std::int64_t i = 0; i < n; ++i) {
            const auto b = static_cast<std::size_t>(first + i);
            if (keep[b] != 0) {
                samples[static_cast<std::size_t>(labels[b])].push_back(i);
            }
        }
        std::vector<ClassSamples> classes;
        for (std::size_t k = 0; k < samples.size(); ++k) {
            if (!samples[k].empty()) {
                const int now = state.at[k];
                classes.push_back({samples[k].data(), static_cast<std::int64_t>(samples[k].size()), state.count[k],
                                   state.count[k] > 0 ? state.moments[now][k].data() : nullptr,
                                   state.moments[1 - now][k].data()});
            }
        }
        const bool finite = aggregate(
            {data, x.dtype, n_channels, n_pixels, classes.data(), static_cast<std::int64_t>(classes.size())}, n);
        for (std::size_t k = 0; k < samples.size() && finite; ++k) {
            if (!samples[k].empty()) {
                state.at[k] = 1 - state.at[k];
                state.count[k] += static_cast<std::int64_t>(samples[k].size());
            }
        }
        return finite;
    }
};

// Roundings, with u = 2^-53 and all |a| at most A: a carries c - 1 of its channel sum. A batch's sum of n differences
// of at most 2 A is off by 2 n (n + 1) u A, so the mean that it moves by an nth of that by 2 (n + 1) u A, and by 5 u A
// more for the divisions and the sum; over the batches the n add up. The squares, at most 4 A^2 each, sum to an error
// of 4 n (n + 3) u A^2, S^2 / N to twice that, and a pivot that is off by e moves m2 by 4 n A e.
inline void check_state(const Batches& b, const State& state, int n_batches) {
    for (std::int64_t k = 0; k < b.n_classes; ++k) {
        std::vector<std::int64_t> samples;
        for (std::int64_t i = 0; i < b.x.n_samples; ++i) {
            if (b.keep[static_cast<std::size_t>(i)] && b.labels[static_cast<std::size_t>(i)] == k) {
                samples.push_back(i);
            }
        }
        CHECK_EQUAL(state.count[static_cast<std::size_t>(k)], static_cast<std::int64_t>(samples.size()));
        const double n = std::fmax(1.0, static_cast<double>(samples.size()));
        for (std::int64_t p = 0; p < b.n_pixels; ++p) {
            std::vector<long double> values;
            long double mean = 0.0L;
            long double mean_abs = 0.0L;
            double size = 0.0;
            for (const std::int64_t i : samples) {
                long double value = 0.0L;
                double absolute = 0.0;
                for (std::int64_t c = 0; c < b.n_channels; ++c) {
                    value += static_cast<long double>(b.x.at(i, c * b.n_pixels + p));
                    absolute += std::fabs(b.x.at(i, c * b.n_pixels + p));
                }
                values.push_back(value);
                mean += value / static_cast<long double>(n);
                mean_abs += std::fabs(value) / static_cast<long double>(n);
                size = std::fmax(size, absolute);
            }
            long double m2 = 0.0L;
            for (const long double value : values) {
                m2 += (value - mean) * (value - mean);
            }
            if (samples.empty()) {
                continue;
            }
            const auto at = static_cast<std::size_t>(p);
            const auto pixels = static_cast<std::size_t>(b.n_pixels);
            const double channels = static_cast<double>(b.n_channels);
            const double bound = (2.0 * n + 7.0 * n_batches + channels) * 0x1p-53 * size;
            const std::vector<double>& moments = state.of(k);
            CHECK_NEAR(moments[at], static_cast<double>(mean), bound);
            CHECK_NEAR(moments[2 * pixels + at], static_cast<double>(mean_abs), bound);
            CHECK_NEAR(moments[pixels + at], static_cast<double>(m2),
                       n * size * (12.0 * (n + 3.0) * 0x1p-53 * size + 8.0 * bound));
        }
    }
}

}  // namespace pixfold::tests
