// Rows of floats at every alignment, folded on a device by the kernel under test: the CPU's bits and counts, and not a
// byte beside the images.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "checks.hpp"
#include "cpu/dispatch.hpp"
#include "device_fold.hpp"
#include "device_matrices.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::tests {

inline constexpr std::int64_t edge = 16;  // elements of poison on either side

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

// One block takes all: on a card there are as many as ever.
template <class F>
void with_one_block(F&& test) {
#ifdef PIXFOLD_SIMT_SHIM
    const std::int64_t before = cuda::simt::most_blocks;
    cuda::simt::most_blocks = 1;
    test();
    cuda::simt::most_blocks = before;
#else
    test();
#endif
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

// What a fold on the device is called with.
struct OnDevice {
    DenseView x;
    const cuda::Slots& slots;
    const NormalizeParameters& parameters;
    const std::int32_t* slot_of_feature;
    const std::int64_t* sample_offset;
};

// `formula(which, normaliser, n_samples)`: the parameters of a case. `sample`: the rows that are folded, by number;
// null for all in order. `fold(OnDevice, FoldOutput, counts)` is the kernel under test.
template <class Make, class F>
void check_rows(const Matrix& x, const Case& c, Make&& formula, const std::vector<std::int64_t>* sample, F&& fold) {
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
    DeviceArray<std::int32_t> slot_of_feature(layout.slot_of_feature(), x.n_features);
    std::vector<std::int64_t> offsets;
    for (std::int64_t i = 0; sample != nullptr && i < n_samples; ++i) {
        offsets.push_back((*sample)[static_cast<std::size_t>(i)] * stride * 4);
    }
    DeviceArray<std::int64_t> device_offsets(offsets);
    const OnDevice given{{values.data() + c.behind, DType::f32, n_samples, x.n_features, 4 * stride, 4},
                         device_slots.view(),
                         device_parameters.view(),
                         slot_of_feature.data(),
                         sample != nullptr ? device_offsets.data() : nullptr};
    const std::int64_t size = size_of(c.out);
    check_images(expected.output().data, n_samples * slots.n_pixels * size, (edge + c.behind_out) * size, counts,
                 [&](void* images, unsigned long long* added) { fold(given, FoldOutput{images, c.out}, added); });
}

}  // namespace pixfold::tests
