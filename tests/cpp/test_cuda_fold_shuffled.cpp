// fold and moving of floats under arrangements, rows whole in shared memory, on a device: the CPU's bits and counts at
// every alignment of rows in and out, with either machinery of copies, and not a byte beside the images.
#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "device_rows.hpp"
#include "fold_library.hpp"
#include "fold_shuffled.hpp"
#include "pixfold/row_sums.hpp"
#include "pixfold/unfold.hpp"

namespace pixfold::tests {
namespace {

constexpr DType outputs[] = {DType::f32, DType::f16, DType::bf16};
constexpr Kind kinds[] = {Kind::shuffled, Kind::gather, Kind::scatter, Kind::dropped, Kind::natural};

// The formulas that a kernel is compiled for.
constexpr int n_formulas = 8;
NormalizeParameters formula(int which, Normaliser& normaliser, std::int64_t n_samples) {
    normaliser.log = which != 1 && which != 2;
    if (which == 6 || which == 7) {
        normaliser.set_row_scale(n_samples);
    }
    normaliser.clip_below_zero = which == 7;
    if (which == 5) {
        std::fill(normaliser.shift.begin(), normaliser.shift.end(), 0.0f);
    }
    NormalizeParameters p = normaliser.parameters(DType::f32);
    p.offset = nullptr;
    p.shift_is_zero = which == 5;
    if (which == 1 || which == 3 || which == 7) {
        p.shift = p.scale = nullptr;
    }
    return which > 0 ? p : NormalizeParameters{};
}

// `whole_op`: through fold_dense().
void check(const Matrix& x, const Case& c, const std::vector<std::int64_t>* sample = nullptr, bool whole_op = false) {
    check_rows(x, c, formula, sample, [&](const OnDevice& given, FoldOutput out, unsigned long long* counts) {
        CHECK(cuda::fits_shuffled(given.x, given.slots, given.parameters));
        if (whole_op) {
            cuda::fold_dense(given.x, given.slots, given.parameters, out, counts, nullptr, given.sample_offset);
        } else {
            cuda::fold_shuffled(given.x, given.slots, given.parameters, out, counts, nullptr, given.sample_offset);
        }
    });
}

void alignments() {
    each_way_of_copies([] {
        int step = 0;
        for (const std::int64_t n_features : {1, 3, 5, 64, 131, 777}) {
            for (const std::int64_t n_samples : {1, 9, 22}) {
                const Matrix x = make_matrix(DType::f32, n_samples, n_features, 3 + n_samples, true, step % 2 == 0);
                for (std::int64_t behind = 0; behind < 4; ++behind) {
                    for (std::int64_t gap = 0; gap < 4; ++gap, ++step) {
                        check(x,
                              {kinds[step % 5], outputs[step % 3], step % n_formulas, gap, behind, step % 8, step % 7});
                    }
                }
            }
        }
    });
}

// Every formula to every type, with values of all kinds and with regular ones alone.
void formulas() {
    for (const bool special : {false, true}) {
        const Matrix x = make_matrix(DType::f32, 9, 700, 5, special, special);
        for (int which = 0; which < n_formulas; ++which) {
            for (const DType out : outputs) {
                check(x, {Kind::shuffled, out, which, 1, 2, 1, 29});
            }
        }
    }
}

// More pixels than the threads of one block have: several slices, most of them padding.
void slices() {
    const Matrix x = make_matrix(DType::f32, 3, 150, 6, true);
    each_way_of_copies([&] {
        for (const int which : {0, 4}) {
            check(x, {Kind::shuffled, DType::f32, which, 0, 1, 3, 41003});
            check(x, {Kind::scatter, DType::f16, which, 0, 0, 0, 20000});
        }
    });
}

// Blocks that take rows of several residues, one after the other.
void one_block() {
#ifdef PIXFOLD_SIMT_SHIM
    const std::int64_t before = cuda::simt::most_blocks;
    cuda::simt::most_blocks = 1;
    const Matrix x = make_matrix(DType::f32, 13, 90, 8, true, true);
    each_way_of_copies([&] {
        check(x, {Kind::shuffled, DType::f32, 4, 3, 1, 2, 5});
        check(x, {Kind::dropped, DType::bf16, 2, 1, 0, 1, 0});
    });
    cuda::simt::most_blocks = before;
#endif
}

void by_number() {
    const Matrix x = make_matrix(DType::f32, 9, 83, 7, true, true);
    const std::vector<std::int64_t> samples = {3, 3, 8, 0, 1, 7, 5, 2, 2, 2, 6, 4, 8, 0, 1, 1, 5, 3, 0};
    each_way_of_copies([&] {
        for (const std::int64_t gap : {0, 1, 2, 5}) {
            for (int which = 0; which < n_formulas; ++which) {
                check(x, {kinds[which % 5], outputs[which % 3], which, gap, gap % 4, 2, 3}, &samples);
            }
        }
    });
}

// Long samples go this way by themselves; what it cannot do falls to the kernel for everything.
void dispatch() {
    const Matrix x = make_matrix(DType::f32, 140, 4099, 9, true);
    check(x, {Kind::shuffled, DType::f32, 4, 0, 0, 0, 2}, nullptr, true);
    const Layout layout(Kind::shuffled, 5000);
    const DeviceSlots slots(layout.view());
    Normaliser normaliser(5000, 1);
    NormalizeParameters p = normaliser.parameters(DType::f32);
    p.offset = nullptr;
    DenseView view{nullptr, DType::f32, 500, 5000, 20000, 4};
    const auto takes = [&] { return cuda::is_shuffled(view, slots.view(), p); };
    CHECK(takes());
    p.log = false;
    p.clip_below_zero = true;
    CHECK(!takes());
    p.log = true;
    CHECK(takes());
    p.offset = normaliser.offset.data();
    CHECK(!takes());
    p.offset = nullptr;
    view.dtype = DType::i16;
    CHECK(!takes());
    view.dtype = DType::f32;
    view.feature_stride = 8;
    CHECK(!takes());
    view.feature_stride = 4;
    view.n_samples = 1;
    CHECK(!takes());
    view.n_samples = 500;
    view.n_features = 4000;
    CHECK(!takes());
    view.n_features = 70000;  // twice that is in no card's shared memory
    CHECK(!takes());
}

// The sums of the samples and their images from one reading: the bits of both ops, one after the other.
void check_library(const Matrix& x, const Case& c) {
    constexpr double size = 1000.0;
    std::vector<double> sums(static_cast<std::size_t>(x.n_samples));
    const auto parameters = [&](int which, Normaliser& normaliser, std::int64_t n_samples) {
        const std::int64_t stride = x.n_features + c.gap;
        std::vector<float> rows(static_cast<std::size_t>(c.behind + n_samples * stride));
        for (std::int64_t e = 0; e < n_samples * x.n_features; ++e) {
            const std::int64_t i = e / x.n_features, j = e % x.n_features;
            rows[static_cast<std::size_t>(c.behind + i * stride + j)] = static_cast<float>(x.at(i, j));
        }
        DeviceArray<float> values(rows);
        const DenseView view{values.data() + c.behind, DType::f32, n_samples, x.n_features, 4 * stride, 4};
        DeviceArray<double> found(sums);
        DeviceMemory scratch(cuda::row_sums_dense_workspace(view));
        cuda::row_sums_dense(view, found.data(), scratch.data(), nullptr);
        sums = found.read();
        normaliser.set_row_scale(n_samples);
        for (std::size_t i = 0; i < sums.size(); ++i) {
            normaliser.row_scale[i] = sums[i] > 0.0 ? size / sums[i] : 0.0;
        }
        normaliser.clip_below_zero = which == 2;
        NormalizeParameters p = normaliser.parameters(DType::f32);
        p.offset = nullptr;
        if (which == 0) {
            p.shift = p.scale = nullptr;
        }
        return p;
    };
    check_rows(x, c, parameters, nullptr, [&](const OnDevice& given, FoldOutput out, unsigned long long* counts) {
        NormalizeParameters p = given.parameters;
        p.row_scale = nullptr;
        CHECK(cuda::fits_library(given.x, given.slots, p));
        cuda::fold_library(given.x, given.slots, p, size, out, counts, nullptr);
    });
}

void library() {
    each_way_of_copies([] {
        int step = 0;
        for (const std::int64_t n_features : {1, 131, 4098}) {
            for (const bool special : {true, false}) {
                if (special && n_features > 1000) {
                    continue;  // whose sums are infinite, or none
                }
                Matrix x = make_matrix(DType::f32, 5, n_features, 3, special, step % 2 == 0);
                // Large numbers that cancel: what the small ones come to depends on the order of the additions.
                for (std::int64_t j = 0; !special && j < n_features / 16 * 16; j += 8) {
                    for (std::int64_t i = 0; i < x.n_samples; ++i) {
                        x.values[static_cast<std::size_t>(i * n_features + j)] = j % 16 == 0 ? 0x1p60 : -0x1p60;
                    }
                }
                for (std::int64_t behind = 0; behind < (n_features > 1000 ? 2 : 4); ++behind, ++step) {
                    const Kind kind = step % 3 == 0 ? Kind::gather : Kind::natural;
                    check_library(x, {kind, outputs[step % 3], step % 3, step % 4, behind, step % 8, step % 7});
                    if (behind == 0) {  // rows on 16-byte boundaries are added up four values at a time
                        check_library(x, {kind, outputs[step % 3], (step + 1) % 3, (4 - n_features % 4) % 4, 0, 0, 5});
                    }
                }
            }
        }
    });
}

// Words of all bits, from pixels to features as unfold does it, at every alignment.
template <class Word>
void moving() {
    std::mt19937_64 random(1);
    constexpr auto size = static_cast<std::int64_t>(sizeof(Word));
    each_way_of_copies([&] {
        int step = 0;
        for (const std::int64_t n_from : {1, 6, 515}) {
            for (const std::int64_t n_columns : {1, 4, 30, 701}) {
                for (const std::int64_t n_rows : {1, 11}) {
                    const std::int64_t behind = ++step % 9;
                    context = text(n_from) + " to " + text(n_columns) + " columns of " + text(size) + " bytes, " +
                              text(n_rows) + " rows, " + text(behind) + " behind";
                    std::vector<Word> from(static_cast<std::size_t>(behind + n_from * n_rows));
                    std::generate(from.begin(), from.end(), [&] { return static_cast<Word>(random()); });
                    std::vector<std::int32_t> column;
                    std::vector<Word> expected;
                    for (std::int64_t c = 0; c < n_columns; ++c) {
                        const auto any = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n_from + 1));
                        column.push_back(static_cast<std::int32_t>(any - 1));
                    }
                    for (std::int64_t e = 0; e < n_rows * n_columns; ++e) {
                        const std::int32_t at = column[static_cast<std::size_t>(e % n_columns)];
                        expected.push_back(
                            at < 0 ? Word{0} : from[static_cast<std::size_t>(behind + e / n_columns * n_from + at)]);
                    }
                    DeviceArray<Word> device_from(from);
                    DeviceArray<std::int32_t> device_column(column);
                    check_images(expected.data(), size * n_rows * n_columns, size * (edge + step % 8), {},
                                 [&](void* out, unsigned long long*) {
                                     const cuda::Moving moving{
                                         device_from.data() + behind, out, n_rows, n_from, n_columns,
                                         device_column.data(),        size};
                                     CHECK(cuda::fits_shuffled(moving));
                                     cuda::move_shuffled(moving, nullptr);
                                 });
                }
            }
        }
    });
}

// unfold of many long images goes this way by itself.
void unfolding() {
    constexpr std::int64_t n = 4100, n_rows = 133;
    const Layout layout(Kind::shuffled, n);
    const std::int64_t n_pixels = layout.n_pixels();
    std::vector<float> images(static_cast<std::size_t>(n_pixels * n_rows));
    for (std::size_t k = 0; k < images.size(); ++k) {
        images[k] = static_cast<float>(k);
    }
    std::vector<std::int32_t> pixel;
    for (std::int64_t j = 0; j < n; ++j) {
        pixel.push_back(layout.view().pixel[layout.slot_of_feature()[j]]);
    }
    std::vector<float> expected(static_cast<std::size_t>(n * n_rows));
    UnfoldArguments a{images.data(), expected.data(), 4, n_rows, n, n_pixels, pixel.data(), false};
    cpu::unfold(a, 1);
    DeviceArray<float> device_images(images);
    DeviceArray<float> out(std::vector<float>(expected.size(), -1.0f));
    DeviceArray<std::int32_t> device_pixel(pixel);
    a.images = device_images.data();
    a.out = out.data();
    a.pixel_of_feature = device_pixel.data();
    CHECK(cuda::is_shuffled(cuda::Moving{a.images, a.out, n_rows, n_pixels, n, a.pixel_of_feature}));
    cuda::unfold(a, nullptr);
    CHECK(out.read() == expected);
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    if (pixfold::isa_in_use() == "baseline") {
        return 0;  // whose logarithms have bits of their own
    }
    return run({{"alignments", alignments},
                {"formulas", formulas},
                {"slices", slices},
                {"one_block", one_block},
                {"by_number", by_number},
                {"dispatch", dispatch},
                {"library", library},
                {"moving", moving<std::uint32_t>},
                {"moving_halves", moving<std::uint16_t>},
                {"unfolding", unfolding}});
}
