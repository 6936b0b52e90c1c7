// fold and moving of floats under arrangements, rows whole in shared memory, on a device: the CPU's bits and counts at
// every alignment of rows in and out, with either machinery of copies, and not a byte beside the images.
#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cpu/dispatch.hpp"
#include "device_fold.hpp"
#include "device_matrices.hpp"
#include "fold_shuffled.hpp"
#include "pixfold/fold.hpp"
#include "pixfold/unfold.hpp"

namespace pixfold::tests {
namespace {

constexpr DType outputs[] = {DType::f32, DType::f16, DType::bf16};
constexpr Kind kinds[] = {Kind::shuffled, Kind::gather, Kind::scatter, Kind::dropped, Kind::natural};
constexpr std::int64_t edge = 16;  // elements of poison on either side

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

// Images with poison around them on a device; `fold` is given where they go and the counts to add to.
template <class F>
void check_images(const void* expected, std::int64_t bytes, std::int64_t before, const FoldCounts& counts, F&& fold) {
    std::vector<char> poisoned(static_cast<std::size_t>(2 * before + bytes), '\xab');
    DeviceMemory memory(poisoned.data(), static_cast<std::int64_t>(poisoned.size()));
    DeviceArray<unsigned long long> added(std::vector<unsigned long long>{0, 0});
    fold(static_cast<char*>(memory.data()) + before, added.data());
    std::vector<char> found(poisoned.size());
    memory.read(found.data());
    const auto images = found.begin() + before;
    CHECK(std::equal(images, images + bytes, static_cast<const char*>(expected)));
    const auto untouched = [](char byte) { return byte == '\xab'; };
    CHECK(std::all_of(found.begin(), images, untouched));
    CHECK(std::all_of(images + bytes, found.end(), untouched));
    const std::vector<unsigned long long> sums = added.read();
    CHECK_EQUAL(static_cast<std::int64_t>(sums[0]), counts.missing);
    CHECK_EQUAL(static_cast<std::int64_t>(sums[1]), counts.negative);
}

struct Case {
    Kind kind;
    DType out;
    int which;
    std::int64_t gap;         // floats between rows
    std::int64_t behind;      // of the first row, behind a 16-byte boundary
    std::int64_t behind_out;  // elements
    std::int64_t padding;     // pixels
};

// `sample`: the rows that are folded, by number; null for all in order. `whole_op`: through fold_dense().
void check(const Matrix& x, const Case& c, const std::vector<std::int64_t>* sample = nullptr, bool whole_op = false) {
    const std::int64_t n_samples = sample != nullptr ? static_cast<std::int64_t>(sample->size()) : x.n_samples;
    context = text(n_samples) + " samples of " + text(x.n_features) + " features, layout " +
              text(static_cast<int>(c.kind)) + ", " + text(c.gap) + " between, " + text(c.behind) + " behind, to " +
              name_of(c.out) + " " + text(c.behind_out) + " behind, padding " + text(c.padding) + ", formula " +
              text(c.which);
    const Layout layout(c.kind, x.n_features);
    SlotView slots = layout.view();
    slots.n_pixels += c.padding;
    slots.identity_pixels = slots.identity_pixels && c.kind != Kind::dropped;
    Normaliser normaliser(layout.n_slots(), 17);
    const NormalizeParameters parameters = formula(c.which, normaliser, n_samples);
    const Matrix some = sample != nullptr ? picked(x, *sample) : x;
    Images expected(c.out, n_samples * slots.n_pixels);
    const FoldCounts counts =
        cpu::fold_dense(Dense(some, Storage::packed).view(), slots, parameters, expected.output(), 1);

    const std::int64_t stride = x.n_features + c.gap;
    std::vector<float> rows(static_cast<std::size_t>(c.behind + (x.n_samples - 1) * stride + x.n_features), 1e9f);
    for (std::int64_t i = 0; i < x.n_samples; ++i) {
        for (std::int64_t j = 0; j < x.n_features; ++j) {
            rows[static_cast<std::size_t>(c.behind + i * stride + j)] = static_cast<float>(x.at(i, j));
        }
    }
    DeviceArray<float> values(rows);
    const DeviceSlots device_slots(slots);
    const DeviceParameters device_parameters(parameters, layout.n_slots(), n_samples, DType::f32);
    std::vector<std::int64_t> offsets;
    for (std::int64_t i = 0; sample != nullptr && i < n_samples; ++i) {
        offsets.push_back((*sample)[static_cast<std::size_t>(i)] * stride * 4);
    }
    DeviceArray<std::int64_t> device_offsets(offsets);
    const DenseView view{values.data() + c.behind, DType::f32, n_samples, x.n_features, 4 * stride, 4};
    const std::int64_t size = size_of(c.out);
    CHECK(cuda::fits_shuffled(view, device_slots.view(), device_parameters.view()));
    check_images(expected.output().data, n_samples * slots.n_pixels * size, (edge + c.behind_out) * size, counts,
                 [&](void* images, unsigned long long* added) {
                     const auto fold = whole_op ? cuda::fold_dense : cuda::fold_shuffled;
                     fold(view, device_slots.view(), device_parameters.view(), {images, c.out}, added, nullptr,
                          sample != nullptr ? device_offsets.data() : nullptr);
                 });
}

// Each machinery of copies; on a card what it has.
template <class F>
void each_way_of_copies(F&& test) {
#ifdef PIXFOLD_SIMT_SHIM
    for (const bool bulk : {true, false}) {
        cuda::simt::bulk_copies = bulk;
        test();
    }
    cuda::simt::bulk_copies = true;
#else
    test();
#endif
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

// Words of all bits, from pixels to features as unfold does it.
void moving() {
    std::mt19937_64 random(1);
    each_way_of_copies([&] {
        int step = 0;
        for (const std::int64_t n_from : {1, 6, 515}) {
            for (const std::int64_t n_columns : {1, 4, 30, 701}) {
                for (const std::int64_t n_rows : {1, 11}) {
                    context = text(n_from) + " to " + text(n_columns) + " columns, " + text(n_rows) + " rows";
                    std::vector<std::uint32_t> from(static_cast<std::size_t>(n_from * n_rows));
                    std::generate(from.begin(), from.end(), [&] { return static_cast<std::uint32_t>(random()); });
                    std::vector<std::int32_t> column;
                    std::vector<std::uint32_t> expected;
                    for (std::int64_t c = 0; c < n_columns; ++c) {
                        const auto any = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n_from + 1));
                        column.push_back(static_cast<std::int32_t>(any - 1));
                    }
                    for (std::int64_t e = 0; e < n_rows * n_columns; ++e) {
                        const std::int32_t at = column[static_cast<std::size_t>(e % n_columns)];
                        expected.push_back(at < 0 ? 0 : from[static_cast<std::size_t>(e / n_columns * n_from + at)]);
                    }
                    DeviceArray<std::uint32_t> device_from(from);
                    DeviceArray<std::int32_t> device_column(column);
                    ++step;
                    check_images(expected.data(), 4 * n_rows * n_columns, 4 * (edge + step % 4), {},
                                 [&](void* out, unsigned long long*) {
                                     const cuda::Moving moving{device_from.data(),  out, n_rows, n_from, n_columns,
                                                               device_column.data()};
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
                {"moving", moving},
                {"unfolding", unfolding}});
}
