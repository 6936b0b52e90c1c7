// Statistics of packed genotypes: against sums taken in two passes over codes that are read bit by bit. A device has
// the bits of the CPU.
#include <algorithm>
#include <vector>

#include "device_stats.hpp"
#include "packed_bits.hpp"
#include "pixfold/packed.hpp"
#include "sides.hpp"

namespace pixfold::tests {
namespace {

// What codes stand for, with so many copies of the first allele in code 0.
double value_of(int code, int copies) {
    return code == 1 ? nan : code == 2 ? 1.0 : static_cast<double>((code == 0) == (copies == 2) ? 2 : 0);
}

void check_stats(const Bits& bits, int copies, const Transform& t, const Stats& stats) {
    const PackedView& x = bits.view();
    std::int64_t negative = 0;
    for (std::int64_t j = 0; j < x.n_features; ++j) {
        const auto at = static_cast<std::size_t>(j);
        const double offset = t.offset.empty() ? 0.0 : t.offset[at];
        std::int64_t zeros = 0;
        long double sum = 0.0L;
        std::vector<long double> values;
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            const double value = value_of(bits.code(i, j), copies);
            if (std::isnan(value)) {
                continue;
            }
            zeros += value == 0.0 ? 1 : 0;
            negative += value + offset < 0.0 ? 1 : 0;
            const double lifted = t.clip_below_zero ? std::fmax(value + offset, 0.0) : value + offset;
            values.push_back(t.log ? std::log1p(static_cast<long double>(lifted)) : lifted);
            sum += values.back();
        }
        const auto present = static_cast<std::int64_t>(values.size());
        CHECK_EQUAL(stats.count[at], present);
        CHECK_EQUAL(stats.missing[at], x.n_samples - present);
        CHECK_EQUAL(stats.zeros[at], zeros);
        if (present == 0) {
            CHECK(std::isnan(stats.mean[at]) && std::isnan(stats.min[at]) && std::isnan(stats.max[at]));
            CHECK_EQUAL(stats.m2[at], 0.0);
            continue;
        }
        // A logarithm in float is within 2 ulp = 4 roundoffs of 1.5 at most; offsets are quarters.
        const double e = t.log ? 4.0 * 0x1p-24 * 1.5 : 0.0;
        const long double middle = sum / static_cast<long double>(present);
        long double squares = 0.0L;
        for (const long double v : values) {
            squares += (v - middle) * (v - middle);
        }
        const auto [low, high] = std::minmax_element(values.begin(), values.end());
        const double spread = static_cast<double>(squares);
        const double of = static_cast<double>(present);
        CHECK_NEAR(stats.min[at], static_cast<double>(*low), e);
        CHECK_NEAR(stats.max[at], static_cast<double>(*high), e);
        CHECK_NEAR(stats.mean[at], static_cast<double>(middle), e + 0x1p-51);
        CHECK_NEAR(stats.m2[at], spread, 2 * e * std::sqrt(of * spread) + of * e * e + 16 * of * 0x1p-52);
    }
    CHECK_EQUAL(stats.counts.negative, negative);
    CHECK_EQUAL(stats.counts.infinite, 0);
}

void check(std::int64_t n_samples, std::int64_t n_features, int step, std::initializer_list<int> threads = {1},
           std::int64_t enough_threads = 1 << 17) {
    // Rows at any address, at every second and at every fourth.
    const std::int64_t gap = step % 3 == 0 ? step % 5 : (4 - (n_features + 3) / 4 % 4) % 4 + (step % 3 == 1 ? 2 : 0);
    const Bits bits(n_samples, n_features, gap, step % 4 == 3, static_cast<std::uint64_t>(step));
    const std::int32_t copies = step % 2 == 0 ? 2 : 0;
    Transform t;
    t.log = step % 3 == 1;
    t.clip_below_zero = (t.log && step % 2 == 0) || step % 7 == 0;
    if (step % 5 < 3) {
        for (std::int64_t j = 0; j < n_features; ++j) {
            t.offset.push_back(0.25 * static_cast<double>(j % 7) - 0.5);
        }
    }
    const std::string what =
        text(n_samples) + " samples of " + text(n_features) + " features, gap " + text(gap) + ", step " + text(step);
    Stats cpu(n_features);
    for (const Side side : sides()) {
        context = what;
        if (side == Side::cpu) {
            on_cpu(threads, [&](int n_threads) {
                cpu.counts = cpu::column_stats_packed(bits.view(), copies, t.arguments(), cpu.output(), n_threads);
                check_stats(bits, copies, t, cpu);
            });
            continue;
        }
        context += ", device";
        DeviceArray<std::uint8_t> memory(bits.memory());
        PackedView view = bits.view();
        view.bits = memory.data() + (view.bits - bits.memory().data());
        DeviceTransform how(t);
        const Stats stats =
            stats_on_device(n_features, 0, [&](const StatsOutput& out, unsigned long long* counts, void*) {
                cuda::column_stats_packed(view, copies, how.arguments(), out, counts, nullptr, enough_threads);
            });
        check_stats(bits, copies, t, stats);
        cpu.counts = cpu::column_stats_packed(bits.view(), copies, t.arguments(), cpu.output(), 1);
        if (!t.log || isa_in_use() != "baseline") {
            CHECK(stats == cpu);
        }
    }
}

// Around a word (16 features), and a group of samples (15) and a round of them (255).
void sizes() {
    int step = 0;
    for (const std::int64_t n_features : {1, 2, 3, 4, 5, 12, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, 1025}) {
        for (const std::int64_t n_samples : {0, 1, 2, 3, 14, 15, 16, 17, 29, 30, 31, 254, 255, 256}) {
            if (n_features < 500 || n_samples < 32) {
                check(n_samples, n_features, ++step, {1, 3});
            }
        }
    }
    check(20, 18225, 4, {1, 3});
    check(9000, 37, 10, {1, 4});  // samples divided between threads
}

// Samples in several spans, and spans of several rounds.
void spans() {
    int step = 0;
    for (const std::int64_t n_samples : {510, 511, 1021, 2500}) {
        for (const std::int64_t n_features : {7, 37, 64}) {
            check(n_samples, n_features, ++step);
            check(n_samples, n_features, ++step, {1}, 2 * ((n_features + 15) / 16));
            check(n_samples, n_features, ++step, {1}, 1);
        }
    }
    check(65280 + 255, 5, 2, {1}, 1);
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"sizes", sizes}, {"spans", spans}});
}
