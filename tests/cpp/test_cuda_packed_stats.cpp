// Statistics of packed genotypes for CUDA, against sums taken in two passes over the values that the codes stand for,
// and the CPU.
#include <vector>

#include "cpu/dispatch.hpp"
#include "device_stats.hpp"
#include "packed_bits.hpp"
#include "pixfold/packed.hpp"

namespace pixfold::tests {
namespace {

Matrix values_of(const Bits& bits, std::int32_t copies) {
    const PackedView& x = bits.view();
    Matrix values{DType::f32, x.n_samples, x.n_features, {}};
    const double of_code[] = {static_cast<double>(copies), nan, 1.0, static_cast<double>(2 - copies)};
    for (std::int64_t i = 0; i < x.n_samples; ++i) {
        for (std::int64_t j = 0; j < x.n_features; ++j) {
            values.values.push_back(of_code[bits.code(i, j)]);
        }
    }
    return values;
}

void check(std::int64_t n_samples, std::int64_t n_features, int step, std::int64_t enough_threads = 1 << 17) {
    // Rows at any address, at every second and at every fourth.
    const std::int64_t gap = step % 3 == 0 ? step % 5 : (4 - (n_features + 3) / 4 % 4) % 4 + (step % 3 == 1 ? 2 : 0);
    const Bits bits(n_samples, n_features, gap, step % 4 == 3, static_cast<std::uint64_t>(step));
    const std::int32_t copies = step % 2 == 0 ? 2 : 0;
    Transform t;
    t.log = step % 3 == 1;
    t.clip_below_zero = t.log || step % 7 == 0;
    if (step % 5 < 3) {
        for (std::int64_t j = 0; j < n_features; ++j) {
            t.offset.push_back(0.25 * static_cast<double>(j % 7) - 0.5);
        }
    }
    context =
        text(n_samples) + " samples of " + text(n_features) + " features, gap " + text(gap) + ", step " + text(step);
    DeviceArray<std::uint8_t> memory(bits.memory());
    PackedView view = bits.view();
    view.bits = memory.data() + (view.bits - bits.memory().data());
    DeviceTransform how(t);
    const Stats stats = stats_on_device(n_features, 0, [&](const StatsOutput& out, unsigned long long* counts, void*) {
        cuda::column_stats_packed(view, copies, how.arguments(), out, counts, nullptr, enough_threads);
    });
    check_stats(values_of(bits, copies), t, stats);
    Stats cpu(n_features);
    cpu.counts = cpu::column_stats_packed(bits.view(), copies, t.arguments(), cpu.output(), 1);
    if (!t.log || isa_in_use() != "baseline") {
        CHECK(stats == cpu);
    }
}

// Around a word (16 features), a group of samples (15) and a round of them (255).
void sizes() {
    int step = 0;
    for (const std::int64_t n_features : {1, 2, 3, 4, 5, 12, 13, 15, 16, 17, 31, 32, 33, 63, 65, 1000}) {
        for (const std::int64_t n_samples : {0, 1, 2, 3, 14, 15, 16, 30, 31, 254, 255, 256}) {
            if (n_features < 500 || n_samples < 32) {
                check(n_samples, n_features, ++step);
            }
        }
    }
}

// Samples in several spans, and spans of several rounds.
void spans() {
    int step = 0;
    for (const std::int64_t n_samples : {511, 1021, 2500}) {
        for (const std::int64_t n_features : {7, 37, 64}) {
            check(n_samples, n_features, ++step);
            check(n_samples, n_features, ++step, 2 * ((n_features + 15) / 16));
            check(n_samples, n_features, ++step, 1);
        }
    }
    check(65280 + 255, 5, 2, 1);
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"sizes", sizes}, {"spans", spans}});
}
