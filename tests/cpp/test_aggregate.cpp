// aggregate against moments taken in two passes, in one batch and in several, and with one bad value at every place. A
// device is held to the same bounds, gives the CPU's own bits where no class is split, and the same bits for every way
// that attributions lie in memory.
#include <algorithm>
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

// The host's attributions with their strides changed, on the device.
class DeviceAttributions {
  public:
    DeviceAttributions(const AggregateArguments& host, std::int64_t n_samples, Strides strides) {
        const std::int64_t size = size_of(host.dtype);
        const std::int64_t image = host.n_channels * host.n_pixels;
        const bool last = strides == Strides::channels_last;
        batch_ = {nullptr,
                  host.dtype,
                  n_samples,
                  host.n_channels,
                  host.n_pixels,
                  strides == Strides::padded ? image + 3 : image,
                  last ? 1 : host.n_pixels,
                  last ? host.n_channels : 1,
                  nullptr,
                  nullptr};
        const std::int64_t first = strides == Strides::shifted ? 1 : 0;
        // No more than is addressed, so that AddressSanitizer sees any access outside.
        const std::int64_t end = n_samples == 0 ? 0 : first + (n_samples - 1) * batch_.sample_stride + image;
        std::vector<char> elements(static_cast<std::size_t>(end * size), '\xff');  // NaN
        for (std::int64_t i = 0; i < n_samples; ++i) {
            for (std::int64_t c = 0; c < host.n_channels; ++c) {
                for (std::int64_t p = 0; p < host.n_pixels; ++p) {
                    const std::int64_t to =
                        first + i * batch_.sample_stride + c * batch_.channel_stride + p * batch_.pixel_stride;
                    std::memcpy(
                        elements.data() + to * size,
                        static_cast<const char*>(host.attributions) + (i * image + c * host.n_pixels + p) * size,
                        static_cast<std::size_t>(size));
                }
            }
        }
        elements_ = std::make_unique<DeviceArray<char>>(elements);
        batch_.attributions = elements_->data() + first * size;
    }
    cuda::AggregateBatch batch() const { return batch_; }

  private:
    std::unique_ptr<DeviceArray<char>> elements_;
    cuda::AggregateBatch batch_;
};

// Two places for the moments of every class, counts, and what was refused; `behind` doubles behind a 16-byte boundary.
class DeviceState {
  public:
    DeviceState(const std::vector<std::int64_t>& count, std::int64_t n_pixels, std::int64_t behind)
        : n_classes_(static_cast<std::int64_t>(count.size())),
          behind_(behind),
          count_(count),
          side_(std::vector<std::int64_t>(count.size(), 0)),
          refused_(std::vector<unsigned long long>{7, 8, 9}) {
        const std::vector<double> nothing(static_cast<std::size_t>(n_classes_ * 3 * n_pixels + behind), nan);
        for (int side = 0; side < 2; ++side) {
            moments_.emplace_back(nothing);
        }
    }
    cuda::AggregateState view() { return {n_classes_, count_.data(), side_.data(), {of(0), of(1)}, refused_.data()}; }
    double* of(int side) { return moments_[static_cast<std::size_t>(side)].data() + behind_; }
    std::vector<double> read(std::int64_t side) const { return moments_[static_cast<std::size_t>(side)].read(); }
    std::vector<std::int64_t> count() const { return count_.read(); }
    std::vector<std::int64_t> sides() const { return side_.read(); }
    void set(int side, const std::vector<double>& moments) {
        moments_[static_cast<std::size_t>(side)] = DeviceArray<double>(moments);
    }
    std::vector<unsigned long long> refused() const {
        const std::vector<unsigned long long> all = refused_.read();
        return {all[0] - 7, all[1] - 8, all[2] - 9};
    }

  private:
    std::int64_t n_classes_, behind_;
    DeviceArray<std::int64_t> count_, side_;
    std::vector<DeviceArray<double>> moments_;
    DeviceArray<unsigned long long> refused_;
};

void run_on_device(cuda::AggregateBatch batch, const std::vector<std::int64_t>& labels, const std::vector<char>* keep,
                   DeviceState& state, std::int64_t enough_blocks) {
    DeviceArray<std::int64_t> device_labels(labels);
    DeviceArray<char> marks(keep != nullptr ? *keep : std::vector<char>{});
    batch.labels = device_labels.data();
    batch.keep = keep != nullptr ? reinterpret_cast<const std::uint8_t*>(marks.data()) : nullptr;
    const cuda::AggregateState view = state.view();
    const std::int64_t part = cuda::aggregate_part_samples(batch.n_samples, batch.n_pixels, enough_blocks);
    const std::vector<char> rubbish(static_cast<std::size_t>(cuda::aggregate_workspace_bytes(
                                        batch.n_samples, view.n_classes, batch.n_pixels, part)),
                                    '\x5a');
    DeviceArray<char> workspace(rubbish);
    cuda::aggregate(batch, view, part, workspace.data(), nullptr);
}

// Aggregates on the device, where there is a class without samples before each of the host's; the new moments go where
// the host wants them.
Aggregator on_device(Strides strides, std::int64_t enough_blocks) {
    return [=](const AggregateArguments& host, std::int64_t n_samples) {
        const DeviceAttributions attributions(host, n_samples, strides);
        const auto size = static_cast<std::size_t>(3 * host.n_pixels);
        const std::int64_t behind = strides == Strides::shifted ? 1 : 0;
        std::vector<std::int64_t> labels(static_cast<std::size_t>(n_samples), 0), count;
        std::vector<char> keep(labels.size(), 0);
        std::vector<double> before(static_cast<std::size_t>(behind), nan);
        for (std::int64_t k = 0; k < host.n_classes; ++k) {
            const ClassSamples& c = host.classes[k];
            for (std::int64_t i = 0; i < c.n_samples; ++i) {
                labels[static_cast<std::size_t>(c.samples[i])] = 2 * k + 1;
                keep[static_cast<std::size_t>(c.samples[i])] = 1;
            }
            count.insert(count.end(), {3, c.seen});
            before.insert(before.end(), size, 0.25);
            if (c.seen > 0) {
                before.insert(before.end(), c.before, c.before + size);
            } else {
                before.insert(before.end(), size, nan);
            }
        }
        count.push_back(0);
        before.insert(before.end(), size, nan);
        DeviceState state(count, host.n_pixels, behind);
        state.set(0, before);
        run_on_device(attributions.batch(), labels, &keep, state, enough_blocks);
        const std::vector<unsigned long long> refused = state.refused();
        CHECK_EQUAL(refused[1] + refused[2], 0u);
        const bool fine = refused[0] == 0;
        const std::vector<std::int64_t> after = state.count(), side = state.sides();
        const std::vector<double> moments = state.read(1);
        CHECK(std::memcmp(state.read(0).data(), before.data(), before.size() * sizeof(double)) == 0);
        for (std::size_t k = 0; k < count.size(); ++k) {
            const bool added = fine && k % 2 == 1;
            CHECK_EQUAL(side[k], added ? 1 : 0);
            CHECK_EQUAL(after[k], count[k] + (added ? host.classes[k / 2].n_samples : 0));
            if (k % 2 == 1) {
                std::memcpy(host.classes[k / 2].after, moments.data() + static_cast<std::size_t>(behind) + k * size,
                            size * sizeof(double));
            }
        }
        return fine;
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

// Parts of a power of two of samples, as many as asked for where there are samples enough.
void parts() {
    for (const std::int64_t n_pixels : {1, 18'225, 1'000'000}) {
        for (const std::int64_t enough : {std::int64_t{0}, std::int64_t{100}, cuda::enough_sums, least_parts}) {
            for (const std::int64_t n : {1, 15, 16, 17, 256, 1000}) {
                context = text(n) + " samples of " + text(n_pixels) + " pixels, " + text(enough) + " blocks";
                const std::int64_t part = cuda::aggregate_part_samples(n, n_pixels, enough);
                CHECK(part >= cuda::least_part && (part & (part - 1)) == 0);
                const auto blocks = [&](std::int64_t m) { return (n + m - 1) / m * ((n_pixels + 255) / 256); };
                CHECK(blocks(part) >= enough || part == cuda::least_part);
                CHECK(part >= n || blocks(2 * part) < enough);  // no more than that
            }
        }
    }
}

// Labels and marks that are none change nothing, wherever they are, and are counted; a batch after them is added.
void refusals() {
    constexpr std::int64_t n = 37, n_pixels = 6, n_classes = 40;  // more classes than warps sort at a time
    const Matrix x = make_matrix(DType::f32, n, n_pixels, 5, false, true);
    const Dense dense(x, Storage::packed);
    const AggregateArguments host{dense.view().data, DType::f32, 1, n_pixels, nullptr, 0};
    const DeviceAttributions attributions(host, n, Strides::packed);
    std::vector<std::int64_t> labels;
    for (std::int64_t i = 0; i < n; ++i) {
        labels.push_back(i * 7 % n_classes);
    }
    for (const std::int64_t enough : {whole_classes, least_parts}) {
        DeviceState state(std::vector<std::int64_t>(n_classes, 0), n_pixels, 0);
        run_on_device(attributions.batch(), labels, nullptr, state, enough);
        const std::vector<double> before = state.read(1);
        for (std::size_t bad = 0; bad < labels.size(); bad += 4) {
            std::vector<std::int64_t> wrong = labels;
            wrong[bad] = bad % 8 == 0 ? -1 : n_classes;
            std::vector<char> keep(labels.size(), 1);
            keep[bad] = 0;  // a label is looked at whether its sample counts or not
            run_on_device(attributions.batch(), wrong, &keep, state, enough);
            keep[bad] = 2;
            run_on_device(attributions.batch(), labels, &keep, state, enough);
        }
        const std::vector<unsigned long long> refused = state.refused();
        CHECK_EQUAL(refused[0], 0u);
        CHECK_EQUAL(refused[1], 10u);
        CHECK_EQUAL(refused[2], 10u);
        const std::vector<std::int64_t> count = state.count(), side = state.sides();
        for (std::size_t k = 0; k < count.size(); ++k) {
            const std::int64_t expected = std::count(labels.begin(), labels.end(), static_cast<std::int64_t>(k));
            CHECK_EQUAL(count[k], expected);
            CHECK_EQUAL(side[k], expected > 0 ? 1 : 0);
        }
        CHECK(std::memcmp(before.data(), state.read(1).data(), before.size() * sizeof(double)) == 0);
        run_on_device(attributions.batch(), labels, nullptr, state, enough);
        CHECK_EQUAL(state.count()[0], 2 * count[0]);
        CHECK_EQUAL(state.sides()[0], 0);
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
                {"parts", only(Side::device, parts)},
                {"refusals", only(Side::device, refusals)},
                {"every_place", every_place},
                {"limits", limits}});
}
