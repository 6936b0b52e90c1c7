// aggregate against moments taken in two passes, in one batch and in several, and with one bad value at every place. A
// device is held to the same bounds, gives the CPU's own bits where no class is split, and the same bits for every way
// that attributions lie in memory.
#include <cfloat>
#include <cmath>
#include <cstring>
#include <memory>
#include <tuple>
#include <vector>

#include "attributions.hpp"
#include "device_memory.hpp"
#include "pixfold/aggregate.hpp"
#include "sides.hpp"

namespace pixfold::tests {
namespace {

Aggregator on(int threads) {
    return [threads](const AggregateArguments& arguments, std::int64_t) { return cpu::aggregate(arguments, threads); };
}

enum class Strides { packed, shifted, padded, channels_last };
constexpr Strides all_strides[] = {Strides::packed, Strides::shifted, Strides::padded, Strides::channels_last};

constexpr std::int64_t whole_classes = 0;  // blocks that are enough: no class is split
constexpr std::int64_t least_parts = std::int64_t{1} << 40;

// The host's batch with its strides changed, on the device.
class DeviceBatch {
  public:
    DeviceBatch(const AggregateArguments& host, std::int64_t n_samples, Strides strides) {
        const std::int64_t size = size_of(host.dtype);
        const std::int64_t image = host.n_channels * host.n_pixels;
        const bool last = strides == Strides::channels_last;
        view_ = {nullptr,
                 host.dtype,
                 host.n_channels,
                 host.n_pixels,
                 strides == Strides::padded ? image + 3 : image,
                 last ? 1 : host.n_pixels,
                 last ? host.n_channels : 1,
                 nullptr,
                 0,
                 nullptr,
                 0};
        const std::int64_t first = strides == Strides::shifted ? 1 : 0;
        // No more than is addressed, so that AddressSanitizer sees any access outside.
        const std::int64_t end = n_samples == 0 ? 0 : first + (n_samples - 1) * view_.sample_stride + image;
        std::vector<char> elements(static_cast<std::size_t>(end * size), '\xff');  // NaN
        for (std::int64_t i = 0; i < n_samples; ++i) {
            for (std::int64_t c = 0; c < host.n_channels; ++c) {
                for (std::int64_t p = 0; p < host.n_pixels; ++p) {
                    const std::int64_t to =
                        first + i * view_.sample_stride + c * view_.channel_stride + p * view_.pixel_stride;
                    std::memcpy(
                        elements.data() + to * size,
                        static_cast<const char*>(host.attributions) + (i * image + c * host.n_pixels + p) * size,
                        static_cast<std::size_t>(size));
                }
            }
        }
        elements_ = std::make_unique<DeviceArray<char>>(elements);
        view_.attributions = elements_->data() + first * size;
    }
    cuda::AggregateBatch view() const { return view_; }

  private:
    std::unique_ptr<DeviceArray<char>> elements_;
    cuda::AggregateBatch view_;
};

// Aggregates on the device; the new moments go where the host wants them.
Aggregator on_device(Strides strides, std::int64_t enough_blocks) {
    return [=](const AggregateArguments& host, std::int64_t n_samples) {
        const DeviceBatch attributions(host, n_samples, strides);
        std::vector<DeviceArray<std::int64_t>> samples;
        std::vector<DeviceArray<double>> before, after;
        std::vector<ClassSamples> classes;
        for (std::int64_t k = 0; k < host.n_classes; ++k) {
            const ClassSamples& c = host.classes[k];
            const std::int64_t size = 3 * host.n_pixels;
            samples.emplace_back(c.samples, c.n_samples);
            before.emplace_back(c.before, c.seen > 0 ? size : 0);
            after.emplace_back(std::vector<double>(static_cast<std::size_t>(size), nan));
            classes.push_back({samples.back().data(), c.n_samples, c.seen, c.seen > 0 ? before.back().data() : nullptr,
                               after.back().data()});
        }
        const cuda::AggregatePlan plan =
            cuda::plan_aggregate(classes.data(), host.n_classes, host.n_pixels, enough_blocks);
        DeviceArray<cuda::PlannedClass> planned(plan.classes);
        DeviceArray<cuda::Part> parts(plan.parts);
        cuda::AggregateBatch batch = attributions.view();
        batch.classes = planned.data();
        batch.n_classes = host.n_classes;
        batch.parts = parts.data();
        batch.n_parts = static_cast<std::int64_t>(plan.parts.size());
        DeviceMemory workspace(cuda::aggregate_workspace_bytes(batch.n_classes, batch.n_parts, batch.n_pixels));
        DeviceArray<unsigned long long> bad(std::vector<unsigned long long>{5});
        cuda::aggregate(batch, workspace.data(), bad.data(), nullptr);
        for (std::int64_t k = 0; k < host.n_classes; ++k) {
            const std::vector<double> moments = after[static_cast<std::size_t>(k)].read();
            std::memcpy(host.classes[k].after, moments.data(), moments.size() * sizeof(double));
        }
        return bad.read()[0] == 5;
    };
}

// What a side has: the CPU every instruction set, a device whole classes and split ones.
template <class Run>
void on_every(Side side, Run&& run) {
    if (side == Side::cpu) {
        on_cpu({2}, [&](int threads) { run(on(threads)); });
    } else {
        run(on_device(Strides::packed, whole_classes));
        run(on_device(Strides::packed, least_parts));
    }
}

// The newest instruction set of this machine, if it has fused multiply-add.
bool host_fuses() {
    const std::string newest = available_isas().back();
    set_isa(newest);
    return newest != "baseline";
}

State added(const Batches& b, std::int64_t first_batch, const Aggregator& aggregate) {
    State state(b.n_classes, b.n_pixels);
    const std::int64_t n = b.x.n_samples;
    CHECK(b.add(state, 0, first_batch, aggregate));
    CHECK(b.add(state, first_batch, 0, aggregate));
    CHECK(b.add(state, first_batch, n - first_batch, aggregate));
    return state;
}

// Around a register, a tile (4,096 pixels, or 1,024 where rows are summed first) and a group of rows (8).
void cpu_moments() {
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

// Around a word, a block and a tile, and around a group of samples and the shortest part.
void device_moments() {
    const bool fuses = host_fuses();
    for (const DType dtype : attribution_dtypes) {
        for (const std::int64_t n_pixels : {1, 4, 33, 1024, 1026, 2052}) {
            for (const std::int64_t n_channels : {1, 3}) {
                for (const std::int64_t n : {0, 1, 60}) {
                    const Batches b(dtype, n, n_channels, n_pixels, n_pixels % 2 == 1 ? 3 : 2);
                    context = std::string(name_of(dtype)) + ", " + text(n) + " samples of " + text(n_channels) + " x " +
                              text(n_pixels);
                    const State host = added(b, n / 3, on(1));
                    const State whole = added(b, n / 3, on_device(Strides::packed, whole_classes));
                    const State split = added(b, n / 3, on_device(Strides::packed, least_parts));
                    check_state(b, whole, 2);
                    check_state(b, split, 2);
                    CHECK(!fuses || whole.same_bits(host));
                    for (const Strides strides : all_strides) {
                        context += ", strides " + text(static_cast<int>(strides));
                        CHECK(added(b, n / 3, on_device(strides, whole_classes)).same_bits(whole));
                        CHECK(added(b, n / 3, on_device(strides, least_parts)).same_bits(split));
                    }
                }
            }
        }
    }
}

#ifdef PIXFOLD_SIMT_SHIM
// However many blocks there are, the same bits.
void grids() {
    const std::int64_t most = cuda::simt::most_blocks;
    for (const DType dtype : attribution_dtypes) {
        const Batches b(dtype, 60, 3, 2052, 3);
        for (const std::int64_t enough : {whole_classes, least_parts}) {
            const State whole = added(b, 20, on_device(Strides::packed, enough));
            for (const std::int64_t blocks : {1, 2, 5}) {
                context = std::string(name_of(dtype)) + ", " + text(blocks) + " blocks";
                cuda::simt::most_blocks = blocks;
                CHECK(added(b, 20, on_device(Strides::packed, enough)).same_bits(whole));
            }
            cuda::simt::most_blocks = most;
        }
    }
}
#endif

// Lists of more samples than a block takes at a time, and of as many.
void long_lists() {
    const bool fuses = host_fuses();
    for (const std::int64_t n : {320, 325, 640, 700}) {  // 4 of 5 are kept
        const Batches b(DType::f32, n, 1, 6, 1);
        context = text(n) + " samples of one class";
        const State whole = added(b, 0, on_device(Strides::packed, whole_classes));
        check_state(b, whole, 1);
        CHECK(!fuses || whole.same_bits(added(b, 0, on(1))));
        check_state(b, added(b, 0, on_device(Strides::packed, least_parts)), 1);
    }
}

// Parts cover every list once and in order, and there are as many as asked for where lists allow it.
void plans() {
    for (const std::int64_t n_pixels : {1, 18'225, 1'000'000}) {
        for (const std::int64_t enough : {std::int64_t{1}, std::int64_t{100}, cuda::enough_sums}) {
            std::vector<ClassSamples> classes;
            std::int64_t shortest = 0;  // as many parts as there can be
            for (const std::int64_t n : {1, 15, 16, 17, 256, 1000}) {
                classes.push_back({nullptr, n, 0, nullptr, nullptr});
                shortest += (n + cuda::least_part - 1) / cuda::least_part;
            }
            context = text(n_pixels) + " pixels, " + text(enough) + " blocks";
            const auto n_classes = static_cast<std::int64_t>(classes.size());
            const cuda::AggregatePlan plan = cuda::plan_aggregate(classes.data(), n_classes, n_pixels, enough);
            const auto n_parts = static_cast<std::int64_t>(plan.parts.size());
            std::int64_t next = 0;
            for (std::int64_t k = 0; k < n_classes; ++k) {
                const cuda::PlannedClass& planned = plan.classes[static_cast<std::size_t>(k)];
                CHECK_EQUAL(planned.first_part, next);
                std::int64_t first = 0;
                for (; next < planned.first_part + planned.n_parts; ++next) {
                    const cuda::Part& part = plan.parts[static_cast<std::size_t>(next)];
                    CHECK_EQUAL(part.of, k);
                    CHECK_EQUAL(part.first, first);
                    CHECK(part.n_samples > 0);
                    first += part.n_samples;
                }
                CHECK_EQUAL(first, classes[static_cast<std::size_t>(k)].n_samples);
            }
            CHECK_EQUAL(next, n_parts);
            const std::int64_t n_tiles = (n_pixels + 1023) / 1024;
            CHECK(n_parts * n_tiles >= enough || n_parts == shortest);
            CHECK(enough > 1 || n_parts == n_classes);
        }
    }
}

void every_place() {
    for (const Side side : sides()) {
        const std::int64_t n = side == Side::cpu ? 3 : 22;  // 18 of 22 are kept: two parts
        const std::int64_t n_pixels = side == Side::cpu ? 19 : 5;
        for (const DType dtype : attribution_dtypes) {
            for (const std::int64_t n_channels : {1, 2}) {
                Batches b(dtype, n, n_channels, n_pixels, 1);
                const Matrix good = b.x;
                for (std::int64_t bad = -1; bad < n * n_channels * n_pixels; ++bad) {
                    if (bad >= 0 && b.keep[static_cast<std::size_t>(bad / (n_channels * n_pixels))] == 0) {
                        continue;
                    }
                    constexpr double values[] = {nan, infinity, -infinity};
                    // One of them on a device: the simulator takes its time.
                    for (int k = 0; k < (side == Side::cpu ? 3 : 1); ++k) {
                        const double value = values[(bad + 1 + k) % 3];
                        b.x = good;
                        if (bad >= 0) {
                            b.x.values[static_cast<std::size_t>(bad)] = value;
                        }
                        b.dense = Dense(b.x, Storage::packed);
                        context = std::string(name_of(dtype)) + ", " + text(n_channels) + " channels, " + text(value) +
                                  " at " + text(bad);
                        on_every(side, [&](const Aggregator& aggregate) {
                            State state(1, n_pixels);
                            CHECK_EQUAL(b.add(state, 0, n, aggregate), bad < 0);
                        });
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
        for (const Side side : sides()) {
            context = std::string(name_of(dtype)) + ", " + text(value);
            on_every(side, [&, fine = fine](const Aggregator& aggregate) {
                State state(1, 5);
                CHECK_EQUAL(b.add(state, 0, 3, aggregate), fine);
                CHECK(!fine || std::isfinite(state.of(0)[5]));
            });
        }
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"cpu_moments", only(Side::cpu, cpu_moments)},
                {"groups", only(Side::cpu, groups)},
                {"past_the_caches", only(Side::cpu, past_the_caches)},
                {"device_moments", only(Side::device, device_moments)},
#ifdef PIXFOLD_SIMT_SHIM
                {"grids", only(Side::device, grids)},
#endif
                {"long_lists", only(Side::device, long_lists)},
                {"plans", plans},
                {"every_place", every_place},
                {"limits", limits}});
}
