// fold of floats in their order on a device, at every alignment of rows in and out: the CPU's bits and counts, and not
// a byte beside the images.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "cpu/dispatch.hpp"
#include "device_fold.hpp"
#include "device_matrices.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::tests {
namespace {

constexpr DType outputs[] = {DType::f32, DType::f16, DType::bf16};
constexpr std::int64_t edge = 16;  // elements of poison on either side

// The formulas that a kernel is compiled for, and some that are decided at run time.
constexpr int n_formulas = 9;
NormalizeParameters formula(int which, Normaliser& normaliser, std::int64_t n_samples) {
    normaliser.log = which == 2 || which == 4 || which >= 6;
    normaliser.clip_below_zero = which == 5 || which == 7;
    if (which >= 7) {
        normaliser.set_row_scale(n_samples);
    }
    NormalizeParameters p = normaliser.parameters(DType::f32);
    p.offset = which == 6 ? p.offset : nullptr;
    if (which < 3 || which == 5) {
        p.shift = p.scale = nullptr;
    }
    p.normalise = which > 0;
    return which > 0 ? p : NormalizeParameters{};
}

// Samples whose rows have `gap` floats between them; the first begins `behind` floats behind a 16-byte boundary.
struct Rows {
    std::vector<float> values;
    std::int64_t stride;
    std::int64_t behind;

    Rows(const Matrix& x, std::int64_t gap, std::int64_t first) : stride(x.n_features + gap), behind(first) {
        values.resize(static_cast<std::size_t>(behind + (x.n_samples - 1) * stride + x.n_features), 1e9f);
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            for (std::int64_t j = 0; j < x.n_features; ++j) {
                values[static_cast<std::size_t>(behind + i * stride + j)] = static_cast<float>(x.at(i, j));
            }
        }
    }
    DenseView view(const void* memory, const Matrix& x) const {
        return {static_cast<const float*>(memory) + behind, DType::f32, x.n_samples, x.n_features, 4 * stride, 4};
    }
};

// `sample`: the rows that are folded, by where they begin; null for all in order.
void check(const Matrix& x, const Rows& rows, std::int64_t behind_out, std::int64_t padding, DType out, int which,
           const std::vector<std::int64_t>* sample = nullptr) {
    const std::int64_t n_samples = sample != nullptr ? static_cast<std::int64_t>(sample->size()) : x.n_samples;
    context = text(n_samples) + " samples of " + text(x.n_features) + " features, " + text(rows.stride) + " apart, " +
              text(rows.behind) + " behind, to " + name_of(out) + " " + text(behind_out) + " behind, padding " +
              text(padding) + ", formula " + text(which);
    const std::int64_t n_pixels = x.n_features + padding;
    const Layout layout(Kind::natural, x.n_features);
    SlotView slots = layout.view();
    slots.n_pixels = n_pixels;
    Normaliser normaliser(x.n_features, 17);
    const NormalizeParameters parameters = formula(which, normaliser, n_samples);
    const Matrix some = sample != nullptr ? picked(x, *sample) : x;
    const Dense dense(some, Storage::packed);
    Images expected(out, n_samples * n_pixels);
    const FoldCounts counts = cpu::fold_dense(dense.view(), slots, parameters, expected.output(), 1);

    const std::int64_t size = size_of(out);
    std::vector<char> poisoned(static_cast<std::size_t>((2 * edge + behind_out + n_samples * n_pixels) * size), '\xab');
    DeviceMemory memory(poisoned.data(), static_cast<std::int64_t>(poisoned.size()));
    DeviceArray<float> values(rows.values);
    const DeviceSlots device_slots(slots);
    const DeviceParameters device_parameters(parameters, x.n_features, n_samples, DType::f32);
    DeviceArray<unsigned long long> added(std::vector<unsigned long long>{0, 0});
    std::vector<std::int64_t> offsets;
    for (std::int64_t i = 0; sample != nullptr && i < n_samples; ++i) {
        offsets.push_back((*sample)[static_cast<std::size_t>(i)] * rows.stride * 4);
    }
    DeviceArray<std::int64_t> device_offsets(offsets);
    DenseView view = rows.view(values.data(), x);
    view.n_samples = n_samples;
    const std::int64_t before = (edge + behind_out) * size;
    cuda::fold_dense(view, device_slots.view(), device_parameters.view(),
                     {static_cast<char*>(memory.data()) + before, out}, added.data(), nullptr,
                     sample != nullptr ? device_offsets.data() : nullptr);
    std::vector<char> found(poisoned.size());
    memory.read(found.data());
    const auto images = found.begin() + before;
    const std::int64_t bytes = n_samples * n_pixels * size;
    CHECK(std::equal(images, images + bytes, static_cast<const char*>(expected.output().data)));
    const auto untouched = [](char byte) { return byte == '\xab'; };
    CHECK(std::all_of(found.begin(), images, untouched));
    CHECK(std::all_of(images + bytes, found.end(), untouched));
    const std::vector<unsigned long long> sums = added.read();
    CHECK_EQUAL(static_cast<std::int64_t>(sums[0]), counts.missing);
    CHECK_EQUAL(static_cast<std::int64_t>(sums[1]), counts.negative);
}

void alignments() {
    int step = 0;
    for (const std::int64_t n_features : {1, 3, 4, 5, 64, 511, 1030}) {
        for (const std::int64_t n_samples : {1, 5, 17, 35}) {
            const Matrix x = make_matrix(DType::f32, n_samples, n_features, 3 + n_samples, true, step % 2 == 0);
            for (std::int64_t behind = 0; behind < 4; ++behind) {
                for (std::int64_t gap = 0; gap < 4; ++gap) {
                    const Rows rows(x, gap, behind);
                    for (const std::int64_t behind_out : {step % 8, (step + 3) % 8}) {
                        check(x, rows, behind_out, step % 7, outputs[step % 3], step % n_formulas);
                        ++step;
                    }
                }
            }
        }
    }
}

// Every formula to every type, with values of all kinds and with regular ones alone.
void formulas() {
    for (const bool special : {false, true}) {
        const Matrix x = make_matrix(DType::f32, 21, 700, 5, special, special);
        const Rows rows(x, 1, 2);
        for (int which = 0; which < n_formulas; ++which) {
            for (const DType out : outputs) {
                check(x, rows, 1, 29, out, which);
            }
        }
    }
}

// Much padding: whole fours of it, and fours that are part of it.
void padding() {
    const Matrix x = make_matrix(DType::f32, 6, 130, 6, true);
    const Rows rows(x, 0, 0);
    for (const std::int64_t n : {1, 500, 2001}) {
        check(x, rows, 3, n, DType::f32, 4);
        check(x, rows, 5, n, DType::f16, 0);
    }
}

// Rows by number that are 16 bytes apart or a multiple of it take this way, others do not; the bits are the same.
void by_number() {
    const Matrix x = make_matrix(DType::f32, 9, 83, 7, true);
    const std::vector<std::int64_t> samples = {3, 3, 8, 0, 1, 7, 5, 2, 2, 2, 6, 4, 8, 0, 1, 1, 5, 3, 0};
    for (const std::int64_t gap : {0, 1, 5}) {
        const Rows rows(x, gap, 0);
        for (int which = 0; which < n_formulas; ++which) {
            check(x, rows, 2, 3, outputs[which % 3], which, &samples);
        }
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    if (pixfold::isa_in_use() == "baseline") {
        return 0;  // whose logarithms have bits of their own
    }
    return run({{"alignments", alignments}, {"formulas", formulas}, {"padding", padding}, {"by_number", by_number}});
}
