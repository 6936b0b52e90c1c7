// fold_gradient of floats by the kernels that have rows whole in shared memory, on a device: the CPU's bits at every
// alignment of samples, gradients and results, with either machinery of copies, and not a byte beside the results.
#include <algorithm>
#include <tuple>
#include <vector>

#include "device_rows.hpp"
#include "fold_gradient_arranged.hpp"
#include "fold_gradient_library.hpp"
#include "pixfold/row_sums.hpp"

namespace pixfold::tests {
namespace {

constexpr DType image_dtypes[] = {DType::f32, DType::f16, DType::bf16};
constexpr double library_size = 1000.0;

struct GradientCase {
    Kind kind;
    DType images;
    int which;                  // formula
    std::int64_t gap;           // floats between samples
    std::int64_t behind;        // of the first sample, behind a 16-byte boundary
    std::int64_t behind_image;  // elements
    std::int64_t behind_out;
    bool plain;         // without the short cuts for features and pixels in order
    bool ones = false;  // the gradient of each pixel is 1
};

constexpr int n_formulas = 7;
NormalizeParameters formula(int which, Normaliser& normaliser) {
    normaliser.log = which != 1 && which != 4 && which != 6;
    normaliser.clip_below_zero = which == 2 || which == 4;
    if (which == 3 || which >= 5) {
        normaliser.lo = -infinity;
        normaliser.hi = infinity;
    }
    NormalizeParameters p = normaliser.parameters(DType::f32);
    p.offset = which == 4 || which == 5 ? p.offset : nullptr;
    if (which == 2 || which == 3 || which == 6) {
        p.shift = p.scale = nullptr;
    }
    return p;
}

// Everything that a gradient takes, on the device; `run` is given that.
template <class F>
void check(const Matrix& x, const GradientCase& c, NormalizeParameters p, F&& run) {
    const std::int64_t n = x.n_features;
    const Layout layout(c.kind, n);
    const SlotView slots = layout.view();
    Matrix gradient = make_matrix(c.images, x.n_samples, slots.n_pixels, 11, false, true);
    if (c.ones) {
        std::fill(gradient.values.begin(), gradient.values.end(), 1.0);
    }
    const Dense images(gradient, Storage::packed);
    std::vector<float> expected(static_cast<std::size_t>(x.n_samples * n));
    cpu::fold_gradient(Dense(x, Storage::packed).view(), slots, p, library_size, {images.view().data, c.images},
                       expected.data(), 1);

    const std::int64_t stride = n + c.gap;
    std::vector<float> rows(static_cast<std::size_t>(c.behind + (x.n_samples - 1) * stride + n), 1e9f);
    for (std::int64_t e = 0; e < x.n_samples * n; ++e) {
        rows[static_cast<std::size_t>(c.behind + e / n * stride + e % n)] = static_cast<float>(x.at(e / n, e % n));
    }
    DeviceArray<float> values(rows);
    std::vector<char> bytes(static_cast<std::size_t>(c.behind_image * size_of(c.images)), '\x7f');
    bytes.insert(bytes.end(), images.memory().begin(), images.memory().end());
    DeviceArray<char> arriving(bytes);
    const DeviceSlots device_slots(slots, c.plain);
    const DeviceParameters device_parameters(p, n, x.n_samples, DType::f32);
    std::vector<std::int32_t> pixels;
    for (std::int64_t j = 0; j < n; ++j) {
        pixels.push_back(slots.pixel[layout.slot_of_feature()[j]]);
    }
    DeviceArray<std::int32_t> slot_of_feature(layout.slot_of_feature(), n);
    DeviceArray<std::int32_t> pixel_of_feature(pixels);
    const bool in_order = !c.plain && slots.identity_features;
    check_images(
        expected.data(), 4 * x.n_samples * n, 4 * (edge + c.behind_out), {}, [&](void* out, unsigned long long*) {
            run(cuda::FoldGradientArguments{{values.data() + c.behind, DType::f32, x.n_samples, n, 4 * stride, 4},
                                            device_slots.view(),
                                            in_order ? nullptr : slot_of_feature.data(),
                                            in_order && slots.identity_pixels ? nullptr : pixel_of_feature.data(),
                                            device_parameters.view(),
                                            library_size,
                                            {arriving.data() + c.behind_image * size_of(c.images), c.images},
                                            out,
                                            nullptr});
        });
}

// The sums of the samples as row_sums_dense() has them where the samples lie.
std::vector<double> sums_of(const Matrix& x, const GradientCase& c) {
    const std::int64_t n = x.n_features, stride = n + c.gap;
    std::vector<float> rows(static_cast<std::size_t>(c.behind + (x.n_samples - 1) * stride + n));
    for (std::int64_t e = 0; e < x.n_samples * n; ++e) {
        rows[static_cast<std::size_t>(c.behind + e / n * stride + e % n)] = static_cast<float>(x.at(e / n, e % n));
    }
    DeviceArray<float> values(rows);
    const DenseView view{values.data() + c.behind, DType::f32, x.n_samples, n, 4 * stride, 4};
    DeviceArray<double> found(std::vector<double>(static_cast<std::size_t>(x.n_samples)));
    DeviceMemory scratch(cuda::row_sums_dense_workspace(view));
    cuda::row_sums_dense(view, found.data(), scratch.data(), nullptr);
    return found.read();
}

// `whole_op`: through fold_gradient_library(), which must take it.
void check_library(const Matrix& x, const GradientCase& c, bool whole_op = false) {
    context = text(x.n_samples) + " samples of " + text(x.n_features) + " features, layout " +
              text(static_cast<int>(c.kind)) + ", formula " + text(c.which) + ", " + text(c.gap) + " between, " +
              text(c.behind) + ", " + text(c.behind_image) + ", " + text(c.behind_out) + " behind, from " +
              name_of(c.images) + (c.plain ? ", plain" : "");
    Normaliser normaliser(x.n_features, 5);
    NormalizeParameters p = formula(c.which, normaliser);
    std::vector<double> row_scale = sums_of(x, c);
    for (double& sum : row_scale) {
        sum = sum > 0.0 ? library_size / sum : 0.0;
    }
    p.row_scale = row_scale.data();
    check(x, c, p, [&](cuda::FoldGradientArguments a) {
        a.parameters.row_scale = nullptr;
        CHECK(cuda::fits_library_gradient(a));
        if (whole_op) {
            CHECK(cuda::fold_gradient_library(a, nullptr));
        } else {
            cuda::fold_gradient_of_library(a, nullptr);
        }
    });
}

constexpr Kind kinds[] = {Kind::shuffled, Kind::gather, Kind::natural, Kind::scatter};

// Around a warp (32), half of one, a run of the slots (1,024) and of the sum (4,096), at every alignment.
void library() {
    each_way_of_copies([] {
        int step = 0;
        for (const std::int64_t n : {1, 3, 15, 17, 33, 131, 1023, 1025, 2180, 4098}) {
            const Matrix x =
                make_matrix(DType::f32, n > 1000 ? 3 : 7, n, static_cast<std::uint64_t>(n), true, n % 2 == 0);
            for (std::int64_t behind = 0; behind < 4; ++behind, ++step) {
                check_library(x, {kinds[step % 4], image_dtypes[step % 3], step % n_formulas, (behind + step / 4) % 4,
                                  behind, step % 8, (behind + step / 3) % 4, step % 5 == 0});
            }
        }
    });
}

// Every formula from every type under every layout, and by one block.
void formulas() {
    const Matrix x = make_matrix(DType::f32, 6, 1100, 8, true, true);
    for (int which = 0; which < n_formulas; ++which) {
        for (int k = 0; k < 4; ++k) {
            check_library(x, {kinds[k], image_dtypes[(which + k) % 3], which, k, which % 4, which, k, false});
        }
        with_one_block([&] { check_library(x, {Kind::shuffled, image_dtypes[which % 3], which, 1, 1, 3, 2, false}); });
    }
}

// Samples without a library size get 0, infinite ones too.
void sums() {
    Matrix x = make_matrix(DType::f32, 4, 4 * 1024 + 70, 9);
    for (std::int64_t j = 0; j < x.n_features; ++j) {
        const auto at = [&](std::int64_t i) -> double& {
            return x.values[static_cast<std::size_t>(i * x.n_features + j)];
        };
        at(0) = 0.0;
        at(1) = -at(1);
        at(2) = j == 7 ? infinity : at(2);
        at(3) = j == 7 ? nan : at(3);
    }
    each_way_of_copies([&] {
        for (const int which : {0, 1, 3}) {
            check_library(x, {Kind::shuffled, DType::f32, which, 2, 0, 0, 1, false});
            check_library(x, {Kind::gather, DType::bf16, which, 1, 3, 1, 0, false});
        }
    });
}

// Large numbers that cancel in every lane of a sum: what the small ones come to depends on the order of the additions.
void order_of_additions() {
    for (const std::int64_t n : {64, 2100}) {
        Matrix x = make_matrix(DType::f32, 4, n, 3);
        for (const Kind kind : {Kind::natural, Kind::gather}) {
            const Layout layout(kind, n);
            const std::int32_t* feature = layout.view().feature;
            for (std::int64_t e = 0; e < 4 * n; ++e) {
                const std::int64_t k = e % n, turn = (k / 16 + e / n) % 4;
                const bool paired = k / 64 * 64 + 64 <= n && turn % 2 == 0;
                x.values[static_cast<std::size_t>(e / n * n + feature[k])] =
                    paired ? (turn == 0 ? 0x1p60 : -0x1p60) : 1.0 + static_cast<double>(k % 7);
            }
            check_library(x, {kind, DType::f32, 6, 1, 1, 0, 0, false, true});
        }
    }
}

// Long samples go this way by themselves; what it cannot do goes the way of all.
void dispatch() {
    const Matrix x = make_matrix(DType::f32, 140, 4099, 9, true);
    check_library(x, {Kind::shuffled, DType::f16, 0, 0, 0, 0, 0, false}, true);
    const Layout layout(Kind::gather, 5000);
    const DeviceSlots slots(layout.view());
    NormalizeParameters p{};
    p.normalise = true;
    cuda::FoldGradientArguments a{{nullptr, DType::f32, 500, 5000, 20000, 4},
                                  slots.view(),
                                  nullptr,
                                  nullptr,
                                  p,
                                  1.0,
                                  {nullptr, DType::f32},
                                  nullptr,
                                  nullptr};
    const auto takes = [&] { return cuda::is_library_gradient(a); };
    CHECK(takes());
    for (const auto& [stride, across, dtype, n_samples, n_features] : {std::tuple{8, 40000, DType::f32, 500, 5000},
                                                                       {4, 0, DType::f32, 500, 5000},
                                                                       {4, 20000, DType::f64, 500, 5000},
                                                                       {4, 20000, DType::f32, 1, 5000},
                                                                       {4, 20000, DType::f32, 500, 4000},
                                                                       {4, 280000, DType::f32, 500, 70000}}) {
        a.x = {nullptr, dtype, n_samples, n_features, across, stride};
        a.slots.n_slots = n_features;
        CHECK(!takes());
    }
    a.x = {nullptr, DType::f32, 500, 5000, 20000, 4};
    a.slots.n_slots = 4999;  // a feature without a pixel
    CHECK(!takes());
    a.slots.n_slots = 5000;
    a.slots.one_to_one = false;
    CHECK(!takes());
    a.slots.one_to_one = true;
    a.parameters.normalise = false;
    CHECK(!takes());
}

// The gradient moved to the order of the features in rows that scratch memory holds.
void arranged() {
    int step = 0;
    for (const std::int64_t n_features : {1, 6, 131, 702}) {
        for (const Kind kind : {Kind::gather, Kind::shuffled}) {
            for (int which = 0; which < n_formulas; ++which, ++step) {
                const std::int64_t n_samples = 1 + step % 11;
                const Matrix x = make_matrix(DType::f32, n_samples, n_features, 4, true, step % 2 == 0);
                const GradientCase c{
                    kind, image_dtypes[(step + which) % 3], which, step % 3, step % 4, step % 5, (step / 2) % 4, false};
                context =
                    text(n_samples) + " samples of " + text(n_features) + " features, arranged, step " + text(step);
                Normaliser normaliser(n_features, 5);
                check(x, c, formula(which, normaliser), [&](cuda::FoldGradientArguments a) {
                    CHECK(cuda::fits_arranged_gradient(a) || n_features == 1);  // one feature is in order
                    if (a.pixel_of_feature == nullptr) {
                        cuda::fold_gradient(a, nullptr);
                        return;
                    }
                    const std::int64_t bytes = cuda::arranged_gradient_scratch(a, 1 + step % 4);
                    DeviceMemory scratch(bytes);
                    a.scratch = {scratch.data(), bytes};
                    cuda::fold_gradient_arranged(a, nullptr);
                });
            }
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
    return run({{"library", library},
                {"formulas", formulas},
                {"sums", sums},
                {"order_of_additions", order_of_additions},
                {"dispatch", dispatch},
                {"arranged", arranged}});
}
