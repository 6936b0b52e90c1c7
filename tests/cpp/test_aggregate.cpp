// aggregate against moments taken in two passes, in one batch and in several, and with one bad value at every place.
#include <cfloat>
#include <tuple>
#include <vector>

#include "attributions.hpp"
#include "cpu/dispatch.hpp"
#include "pixfold/aggregate.hpp"

namespace pixfold::tests {
namespace {

Aggregator on(int threads) {
    return [threads](const AggregateArguments& arguments, std::int64_t) { return cpu::aggregate(arguments, threads); };
}

// Around a register, a tile (4,096 pixels, or 1,024 where rows are summed first) and a group of rows (8).
void moments() {
    for (const DType dtype : attribution_dtypes) {
        for (const std::int64_t n_pixels : {1, 15, 17, 1023, 1025, 4095, 4097}) {
            for (const std::int64_t n_channels : {1, 3}) {
                for (const std::int64_t n : {0, 1, 8, 29}) {
                    const Batches b(dtype, n, n_channels, n_pixels, n_pixels % 2 == 1 ? 3 : 2);
                    for (const std::string& isa : available_isas()) {
                        set_isa(isa);
                        context = isa + " " + name_of(dtype) + ", " + text(n) + " samples of " + text(n_channels) +
                                  " x " + text(n_pixels);
                        State first(b.n_classes, n_pixels);
                        CHECK(b.add(first, 0, n, on(1)));
                        check_state(b, first, 1);
                        State parts(b.n_classes, n_pixels);
                        CHECK(b.add(parts, 0, n / 3, on(1)));
                        CHECK(b.add(parts, n / 3, 0, on(1)));
                        CHECK(b.add(parts, n / 3, n - n / 3, on(1)));
                        check_state(b, parts, 2);
                        State many(b.n_classes, n_pixels);
                        CHECK(b.add(many, 0, n / 3, on(5)));
                        CHECK(b.add(many, n / 3, n - n / 3, on(3)));
                        CHECK(many.same_bits(parts));
                    }
                }
            }
        }
    }
}

// Every number of rows in a group, with and without samples before, and one more than a group.
void groups() {
    for (std::int64_t n = 1; n <= 17; ++n) {
        const Batches b(DType::f32, n, 1, 37, 1);
        for (const std::string& isa : available_isas()) {
            set_isa(isa);
            context = isa + ", " + text(n) + " samples of one class";
            State state(1, 37);
            CHECK(b.add(state, 0, n, on(1)));
            check_state(b, state, 1);
        }
    }
}

// 12 MiB of new moments per class: three of them go past the caches, one does not. Same bits.
void past_the_caches() {
    const std::int64_t n_pixels = (std::int64_t{1} << 19) + 5;
    const Batches b(DType::f16, 8, 1, n_pixels, 4);
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        context = isa;
        State together(4, n_pixels), apart(4, n_pixels);
        CHECK(b.add(together, 0, 8, on(2)));
        for (std::int64_t k = 0; k < 3; ++k) {
            Batches one = b;
            for (std::size_t i = 0; i < one.labels.size(); ++i) {
                one.keep[i] = one.labels[i] == k ? one.keep[i] : 0;
            }
            CHECK(one.add(apart, 0, 8, on(2)));
        }
        CHECK(together.same_bits(apart));
    }
}

void every_place() {
    for (const DType dtype : attribution_dtypes) {
        for (const std::int64_t n_channels : {1, 2}) {
            const std::int64_t n = 3;
            const std::int64_t n_pixels = 19;
            Batches b(dtype, n, n_channels, n_pixels, 1);
            const Matrix good = b.x;
            for (std::int64_t bad = -1; bad < n * n_channels * n_pixels; ++bad) {
                for (const double value : {nan, infinity, -infinity}) {
                    b.x = good;
                    if (bad >= 0) {
                        b.x.values[static_cast<std::size_t>(bad)] = value;
                    }
                    b.dense = Dense(b.x, Storage::packed);
                    for (const std::string& isa : available_isas()) {
                        set_isa(isa);
                        context = isa + " " + name_of(dtype) + ", " + text(n_channels) + " channels, bad: " + text(bad);
                        State state(1, n_pixels);
                        CHECK_EQUAL(b.add(state, 0, n, on(2)), bad < 0);
                    }
                }
            }
        }
    }
}

// The largest finite numbers of the narrow types are fine; squares that double does not hold are refused.
void limits() {
    for (const auto& [dtype, value, fine] :
         {std::tuple{DType::f16, 65504.0, true}, std::tuple{DType::bf16, 0x1.fep127, true},
          std::tuple{DType::f32, static_cast<double>(FLT_MAX), true}, std::tuple{DType::f64, 1e153, true},
          std::tuple{DType::f64, 1e155, false}, std::tuple{DType::f64, DBL_MAX, false}}) {
        Batches b(dtype, 3, 1, 5, 1);
        for (std::size_t i = 0; i < b.x.values.size(); ++i) {
            b.x.values[i] = i < 5 ? value : -value;
        }
        b.dense = Dense(b.x, Storage::packed);
        for (const std::string& isa : available_isas()) {
            set_isa(isa);
            context = isa + " " + name_of(dtype) + ", " + text(value);
            State state(1, 5);
            CHECK_EQUAL(b.add(state, 0, 3, on(1)), fine);
            CHECK(!fine || std::isfinite(state.of(0)[5]));
        }
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"moments", moments},
                {"groups", groups},
                {"past_the_caches", past_the_caches},
                {"every_place", every_place},
                {"limits", limits}});
}
