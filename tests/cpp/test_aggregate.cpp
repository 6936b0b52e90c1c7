// aggregate against moments taken in two passes, and all_finite with one bad element at every place.
#include <memory>
#include <vector>

#include "checks.hpp"
#include "matrices.hpp"
#include "pixfold/dispatch.hpp"

namespace pixfold::tests {
namespace {

constexpr DType dtypes[] = {DType::f32, DType::f64, DType::f16, DType::bf16};

struct State {
    std::vector<std::int64_t> count;
    std::vector<double> mean, m2, mean_abs;

    State(std::int64_t n_classes, std::int64_t n_pixels)
        : count(static_cast<std::size_t>(n_classes)),
          mean(static_cast<std::size_t>(n_classes * n_pixels)),
          m2(mean),
          mean_abs(mean) {}
    bool operator==(const State&) const = default;
};

// Random attributions (n_samples rows of n_channels * n_pixels), labels, and a mark on most samples.
struct Batches {
    Matrix x;
    std::int64_t n_channels, n_pixels, n_classes;
    Dense dense;
    std::vector<std::int64_t> labels;
    std::unique_ptr<bool[]> keep;  // a vector of bool has no array of them

    Batches(DType dtype, std::int64_t n, std::int64_t channels, std::int64_t pixels, std::int64_t classes)
        : x(make_matrix(dtype, n, channels * pixels, 5, false, true)),
          n_channels(channels),
          n_pixels(pixels),
          n_classes(classes),
          dense(x, Storage::packed),
          keep(new bool[static_cast<std::size_t>(n)]) {
        for (std::int64_t i = 0; i < n; ++i) {
            labels.push_back(classes > 2 ? (i * 7) % (classes - 1) : i % classes);  // the last of three has none
            keep[static_cast<std::size_t>(i)] = i % 5 != 3;
        }
        labels.shrink_to_fit();
    }

    void add(State& state, std::int64_t first, std::int64_t n, int threads) const {
        const char* data =
            static_cast<const char*>(dense.view().data) + first * n_channels * n_pixels * size_of(x.dtype);
        kernels().aggregate({data, x.dtype, n, n_channels, n_pixels, labels.data() + first, keep.get() + first,
                             n_classes, state.count.data(), state.mean.data(), state.m2.data(), state.mean_abs.data()},
                            threads);
    }
};

// Welford's recurrence rounds a few times per sample: each mean is off by at most 4 n roundoffs of the largest value,
// and m2 by that times 2 sum |a - mean| plus as many roundoffs of itself. A sum over channels adds one per channel.
void check_state(const Batches& b, const State& state) {
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
            const auto at = static_cast<std::size_t>(k * b.n_pixels + p);
            const double bound = (4.0 * n + static_cast<double>(b.n_channels)) * 0x1p-53 * size;
            const auto squares = static_cast<double>(m2);
            CHECK_NEAR(state.mean[at], static_cast<double>(mean), bound);
            CHECK_NEAR(state.mean_abs[at], static_cast<double>(mean_abs), bound);
            CHECK_NEAR(state.m2[at], squares,
                       2.0 * bound * std::sqrt(n * squares) + n * bound * bound + 4.0 * n * 0x1p-53 * squares);
        }
    }
}

// Around a block of pixels (1,024); the state is fed in one batch, and in three with the middle one empty.
void moments() {
    for (const DType dtype : dtypes) {
        for (const std::int64_t n_pixels : {1, 15, 17, 1023, 1024, 1025, 2500}) {
            for (const std::int64_t n_channels : {1, 3}) {
                for (const std::int64_t n : {0, 1, 29}) {
                    const Batches b(dtype, n, n_channels, n_pixels, n_pixels % 2 == 1 ? 3 : 2);
                    State first(b.n_classes, n_pixels);
                    bool seen = false;
                    for (const std::string& isa : available_isas()) {
                        set_isa(isa);
                        for (const int threads : {1, 3}) {
                            context = isa + " " + name_of(dtype) + ", " + text(n) + " samples of " + text(n_channels) +
                                      " x " + text(n_pixels) + ", " + text(threads) + " threads";
                            State state(b.n_classes, n_pixels);
                            b.add(state, 0, n, threads);
                            if (!seen) {
                                check_state(b, state);
                                first = state;
                                seen = true;
                            }
                            CHECK(state == first);
                            State parts(b.n_classes, n_pixels);
                            b.add(parts, 0, n / 3, threads);
                            b.add(parts, n / 3, 0, threads);
                            b.add(parts, n / 3, n - n / 3, threads);
                            CHECK(parts == first);
                        }
                    }
                }
            }
        }
    }
}

void every_place() {
    for (const DType dtype : dtypes) {
        for (const std::int64_t n : {0, 1, 7, 16, 33, 70}) {
            for (std::int64_t bad = -1; bad < n; ++bad) {
                for (const double value : {nan, infinity, -infinity}) {
                    Matrix x = make_matrix(dtype, 1, n, 6, false, true);
                    if (bad >= 0) {
                        x.values[static_cast<std::size_t>(bad)] = value;
                    }
                    const Dense dense(x, Storage::packed);
                    for (const std::string& isa : available_isas()) {
                        set_isa(isa);
                        context = isa + " " + name_of(dtype) + ", " + text(n) + " elements, bad: " + text(bad);
                        CHECK_EQUAL(kernels().all_finite(dense.view().data, dtype, n, 2), bad < 0);
                    }
                }
            }
        }
    }
}

// The largest finite numbers are finite.
void limits() {
    const std::uint16_t half[] = {0x7bff, 0xfbff};
    const std::uint16_t bfloat[] = {0x7f7f, 0xff7f};
    const float single[] = {FLT_MAX, -FLT_MAX};
    const double wide[] = {DBL_MAX, -DBL_MAX};
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        CHECK(kernels().all_finite(half, DType::f16, 2, 1));
        CHECK(kernels().all_finite(bfloat, DType::bf16, 2, 1));
        CHECK(kernels().all_finite(single, DType::f32, 2, 1));
        CHECK(kernels().all_finite(wide, DType::f64, 2, 1));
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"moments", moments}, {"every_place", every_place}, {"limits", limits}});
}
