// fold of long float rows under arrangements, through scratch memory, on a device: the CPU's bits and counts at every
// alignment of rows in and out, however many groups of rows a launch takes, and not a byte beside images and scratch.
#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "device_rows.hpp"
#include "fold_interleaved.hpp"
#include "pixfold/unfold.hpp"

namespace pixfold::tests {
namespace {

constexpr DType outputs[] = {DType::f32, DType::f16, DType::bf16};
constexpr Kind kinds[] = {Kind::shuffled, Kind::gather, Kind::scatter, Kind::natural};

// The formulas that a kernel is compiled for, and what is decided at run time.
constexpr int n_formulas = 9;
NormalizeParameters formula(int which, Normaliser& normaliser, std::int64_t n_samples) {
    normaliser.log = which == 2 || which == 4 || which == 6 || which >= 7;
    normaliser.clip_below_zero = which == 5 || which == 7;
    if (which >= 7) {
        normaliser.set_row_scale(n_samples);
    }
    NormalizeParameters p = normaliser.parameters(DType::f32);
    p.offset = which == 6 ? p.offset : nullptr;
    if (which == 1 || which == 2 || which == 5 || which == 8) {
        p.shift = p.scale = nullptr;
    }
    return which > 0 ? p : NormalizeParameters{};
}

// `groups`: what the scratch memory holds.
void check(const Matrix& x, const Case& c, std::int64_t groups, const std::vector<std::int64_t>* sample = nullptr) {
    check_rows(x, c, formula, sample, [&](const OnDevice& given, FoldOutput out, unsigned long long* counts) {
        CHECK(cuda::fits_interleaved(given.x, given.slots, given.parameters, given.sample_offset));
        const std::int64_t least = cuda::least_interleaved_workspace(given.x, given.parameters);
        const std::int64_t all = cuda::interleaved_workspace(given.x, given.slots, given.parameters, out);
        CHECK(all >= least && (all - least) % (32 * given.x.n_features) == 0);
        // Neither more than asked for nor, here, a multiple of a group.
        const std::int64_t bytes = std::min(all, least + (groups - 1) * 32 * given.x.n_features + 16);
        DeviceMemory scratch(bytes);
        cuda::fold_interleaved(given.x, given.slots, given.parameters, out, counts, nullptr, given.sample_offset,
                               {given.slot_of_feature, {scratch.data(), bytes}});
    });
}

void alignments() {
    int step = 0;
    for (const std::int64_t n_features : {1, 3, 5, 511, 1030}) {
        for (const std::int64_t n_samples : {1, 9, 33}) {
            const Matrix x = make_matrix(DType::f32, n_samples, n_features, 3 + n_samples, true, step % 2 == 0);
            for (std::int64_t behind = 0; behind < 4; ++behind) {
                for (std::int64_t gap = 0; gap < 4; ++gap, ++step) {
                    check(x, {kinds[step % 4], outputs[step % 3], step % n_formulas, gap, behind, step % 8, step % 7},
                          1 + step % 5);
                }
            }
        }
    }
}

// Rows that all begin alike, in and out: groups of rows that follow each other.
void aligned() {
    for (const std::int64_t n_samples : {1, 7, 8, 17, 31}) {
        const Matrix x = make_matrix(DType::f32, n_samples, 516, n_samples, true);
        for (const DType out : outputs) {
            check(x, {Kind::gather, out, 4, 0, 0, 0, 0}, 1);
            check(x, {Kind::gather, out, 3, 4, 1, 1, 0}, 3);
        }
    }
}

// Every formula to every type, with values of all kinds and with regular ones alone.
void formulas() {
    for (const bool special : {false, true}) {
        const Matrix x = make_matrix(DType::f32, 19, 700, 5, special, special);
        for (int which = 0; which < n_formulas; ++which) {
            for (const DType out : outputs) {
                check(x, {Kind::shuffled, out, which, 1, 2, 1, 29}, 4);
            }
        }
    }
}

void by_number() {
    const Matrix x = make_matrix(DType::f32, 9, 83, 7, true, true);
    const std::vector<std::int64_t> samples = {3, 3, 8, 0, 1, 7, 5, 2, 2, 2, 6, 4, 8, 0, 1, 1, 5, 3, 0};
    for (const std::int64_t gap : {1, 5}) {
        for (int which = 0; which < n_formulas; ++which) {
            check(x, {kinds[which % 4], outputs[which % 3], which, gap, which % 4, 2, 3}, 2, &samples);
        }
    }
}

// Without a normaliser features may have no pixel, and pixels may be told apart by -1: words of all bits.
void moving() {
    const Matrix x = make_matrix(DType::f32, 10, 90, 3, true);
    check(x, {Kind::dropped, DType::f32, 0, 1, 3, 1, 2}, 2);
    std::mt19937_64 random(1);
    constexpr std::int64_t n_from = 131, n_columns = 701, n_rows = 21;
    std::vector<std::uint32_t> from(n_from * n_rows);
    std::generate(from.begin(), from.end(), [&] { return static_cast<std::uint32_t>(random()); });
    std::vector<std::int32_t> column;
    std::vector<std::uint32_t> expected;
    for (std::int64_t c = 0; c < n_columns; ++c) {
        column.push_back(static_cast<std::int32_t>(random() % (n_from + 1)) - 1);
    }
    for (std::int64_t e = 0; e < n_rows * n_columns; ++e) {
        const std::int32_t at = column[static_cast<std::size_t>(e % n_columns)];
        expected.push_back(at < 0 ? 0 : from[static_cast<std::size_t>(e / n_columns * n_from + at)]);
    }
    DeviceArray<std::uint32_t> device_from(from);
    DeviceArray<std::int32_t> device_column(column);
    const cuda::Slots slots{device_column.data(), nullptr, n_columns, n_columns, true};
    const DenseView rows{device_from.data(), DType::f32, n_rows, n_from, n_from * 4, 4};
    context = "moving";
    check_images(expected.data(), 4 * n_rows * n_columns, 4 * edge, {}, [&](void* out, unsigned long long*) {
        const std::int64_t bytes = cuda::interleaved_workspace(rows, slots, {}, {out, DType::f32});
        DeviceMemory scratch(bytes);
        cuda::fold_interleaved(rows, slots, {}, {out, DType::f32}, nullptr, nullptr, nullptr,
                               {nullptr, {scratch.data(), bytes}});
    });
}

void dispatch() {
    Normaliser normaliser(8, 1);
    const NormalizeParameters p = normaliser.parameters(DType::f32);
    alignas(16) float images[4];
    const FoldOutput out{images, DType::f32};
    std::int64_t any = 0;
    std::int32_t some = 0;
    DenseView x{images, DType::f32, 32, 1000000, 4000000, 4};
    cuda::Slots slots{&some, nullptr, 1000000, 1000000, true};
    const auto takes = [&](const std::int64_t* offsets = nullptr) {
        return cuda::fold_dense_workspace(x, slots, p, out, offsets) > 0;
    };
    CHECK(takes());
    CHECK(takes(&any));
    CHECK_EQUAL(cuda::fold_dense_workspace(x, slots, p, out), std::int64_t{16000000 + 32000000});
    CHECK_EQUAL(cuda::fold_dense_workspace(x, slots, {}, out), std::int64_t{32000000});
    x.sample_stride = 4000004;  // rows by number that begin anywhere
    CHECK(takes());
    CHECK(!takes(&any));
    x.n_samples = 23;
    CHECK(!takes());
    x.sample_stride = 4000000;
    x.n_samples = 8;
    CHECK_EQUAL(takes(), 32000000 >= cuda::least_interleaved_bytes);
    x.n_samples = 9;
    CHECK(takes());
    slots.n_slots = 999999;  // a feature without a pixel
    CHECK(!takes());
    slots.n_slots = 1000000;
    slots.one_to_one = false;
    CHECK(!takes());
    slots.one_to_one = true;
    slots.feature = nullptr;  // in order
    CHECK(!takes());
    slots.feature = &some;
    x.dtype = DType::f16;
    CHECK(!takes());
    x.dtype = DType::f32;
    x.feature_stride = 8;
    CHECK(!takes());
    x = {images, DType::f32, 32, 3000000, 12000000, 4};  // a group is more than L2 holds
    slots.n_slots = slots.n_pixels = 3000000;
    CHECK(!takes());
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    if (pixfold::isa_in_use() == "baseline") {
        return 0;  // whose logarithms have bits of their own
    }
    return run({{"alignments", alignments},
                {"aligned", aligned},
                {"formulas", formulas},
                {"by_number", by_number},
                {"moving", moving},
                {"dispatch", dispatch}});
}
