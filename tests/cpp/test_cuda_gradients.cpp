// fold_gradient and unfold_gradient for CUDA: every dtype, storage, layout and size around the edges of warps, tiles
// and runs, bit by bit the CPU's, which test_gradients.cpp holds to literal loops.
#include <vector>

#include "checks.hpp"
#include "cpu/dispatch.hpp"
#include "device_fold.hpp"
#include "device_matrices.hpp"
#include "pixfold/fold_gradient.hpp"
#include "pixfold/unfold_gradient.hpp"

namespace pixfold::tests {
namespace {

constexpr DType floats[] = {DType::f32, DType::f64, DType::f16, DType::bf16};
constexpr DType image_dtypes[] = {DType::f32, DType::f16, DType::bf16};
constexpr double library_size = 50.0;

// The CPU's bits are the device's where it fuses multiplications and additions, too: the logarithm says what is
// clipped.
bool same_bits(const NormalizeParameters& p) {
    return isa_in_use() != "baseline" || !p.log || (p.lo == -infinity && p.hi == infinity);
}

std::vector<std::int32_t> of_features(const SlotView& slots, std::int64_t n_features, bool pixels) {
    std::vector<std::int32_t> found(static_cast<std::size_t>(n_features), -1);
    for (std::int64_t k = 0; k < slots.n_slots; ++k) {
        found[static_cast<std::size_t>(slots.feature[k])] = pixels ? slots.pixel[k] : static_cast<std::int32_t>(k);
    }
    return found;
}

void check_fold_gradient(const Matrix& x, Storage storage, const Layout& layout, const NormalizeParameters& parameters,
                         DType image_dtype, bool plain = false) {
    context = std::string(name_of(x.dtype)) + " from " + name_of(image_dtype) + ", " + text(x.n_samples) +
              " samples of " + text(x.n_features) + " features, storage " + text(static_cast<int>(storage)) +
              (parameters.log ? ", log" : "") + (parameters.row_scale != nullptr ? ", row scale" : "") +
              (plain ? ", plain" : "");
    const SlotView slots = layout.view();
    const Dense dense(x, storage);
    const Matrix gradient = make_matrix(image_dtype, x.n_samples, slots.n_pixels, 11, false, true);
    const Dense images(gradient, Storage::packed);
    const std::int64_t n = x.n_samples * x.n_features;
    Images expected(x.dtype, n);
    cpu::fold_gradient(dense.view(), slots, parameters, library_size, {images.view().data, image_dtype},
                       expected.output().data, 1);

    const bool complete = !plain && slots.n_slots == x.n_features && slots.identity_features;
    DeviceArray<std::int32_t> slot_of_feature(of_features(slots, x.n_features, false));
    DeviceArray<std::int32_t> pixel_of_feature(of_features(slots, x.n_features, true));
    const DeviceDense samples(dense);
    DeviceArray<char> arriving(images.memory());
    const DeviceSlots device_slots(slots, plain);
    const DeviceParameters device_parameters(parameters, slots.n_slots, x.n_samples, x.dtype);
    const std::int64_t doubles =
        parameters.row_scale != nullptr ? cuda::fold_gradient_workspace(x.n_samples, slots.n_slots) : 0;
    DeviceMemory workspace(8 * doubles);
    Images out(x.dtype, n);
    DeviceMemory memory(out.output().data, n * size_of(x.dtype));
    cuda::fold_gradient({samples.view(),
                         device_slots.view(),
                         complete ? nullptr : slot_of_feature.data(),
                         complete && slots.identity_pixels ? nullptr : pixel_of_feature.data(),
                         device_parameters.view(),
                         library_size,
                         {arriving.data(), image_dtype},
                         memory.data(),
                         static_cast<double*>(workspace.data())},
                        nullptr);
    memory.read(out.output().data);
    if (same_bits(parameters)) {
        CHECK(out == expected);
    }
}

// Around a warp (32), a thread's features (4), a run (1,024) and a tile (1,024).
void sizes() {
    int step = 0;
    for (const std::int64_t n : {1, 15, 16, 17, 18, 31, 32, 33, 63, 64, 65, 1000, 1023, 1024, 1025, 4099}) {
        for (const std::int64_t n_samples : {0, 1, 2, 3, 4, 5, 17}) {
            if (n > 2000 && n_samples > 5) {
                continue;
            }
            for (int kind = 0; kind < n_kinds; ++kind, ++step) {
                const Matrix x =
                    make_matrix(floats[step % 4], n_samples, n, static_cast<std::uint64_t>(step), true, true);
                const Layout layout(static_cast<Kind>(kind), n);
                Normaliser normaliser(layout.n_slots(), 3);
                normaliser.log = step % 3 != 0;
                normaliser.clip_below_zero = normaliser.log;
                if (step % 2 == 0) {
                    normaliser.set_row_scale(n_samples);
                }
                check_fold_gradient(x, static_cast<Storage>((step / 7) % (n_storages - 1)), layout,
                                    step % 5 == 0 ? NormalizeParameters{} : normaliser.parameters(x.dtype),
                                    image_dtypes[(step / 4) % 3], step % 11 == 0);
            }
        }
    }
}

// Every part of the formula alone and with the others.
void formulas() {
    for (const DType dtype : floats) {
        const Matrix x = make_matrix(dtype, 5, 1030, 12, true, true);
        for (const Kind kind : {Kind::shuffled, Kind::many}) {
            const Layout layout(kind, 1030);
            for (int parts = 0; parts < 64; ++parts) {
                Normaliser normaliser(layout.n_slots(), 8);
                normaliser.log = (parts & 1) != 0;
                normaliser.clip_below_zero = (parts & 3) != 0;
                if ((parts & 4) != 0) {
                    normaliser.set_offset(0.0f);
                }
                if ((parts & 8) != 0) {
                    normaliser.set_row_scale(5);
                }
                if ((parts & 16) != 0) {
                    normaliser.lo = -infinity;
                    normaliser.hi = infinity;
                }
                NormalizeParameters parameters = normaliser.parameters(dtype);
                if ((parts & 32) != 0) {
                    parameters.offset = parameters.shift = parameters.scale = nullptr;
                }
                check_fold_gradient(x, Storage::packed, layout, parameters, image_dtypes[parts % 3]);
            }
        }
    }
}

void check_unfold_gradient(DType dtype, Kind kind, std::int64_t n_samples, std::int64_t n_features, bool plain) {
    context = std::string(name_of(dtype)) + ", " + text(n_samples) + " samples of " + text(n_features) +
              " features, layout " + text(static_cast<int>(kind)) + (plain ? ", plain" : "");
    const Layout layout(kind, n_features);
    const SlotView slots = layout.view();
    const Matrix gradient = make_matrix(dtype, n_samples, n_features, 9, false, true);
    const Dense features(gradient, Storage::packed);
    const std::int64_t n = n_samples * slots.n_pixels;
    Images expected(dtype, n);
    cpu::unfold_gradient({features.view().data, dtype, n_samples, n_features}, slots, expected.output().data, 1);
    DeviceArray<char> arriving(features.memory());
    const DeviceSlots device_slots(slots, plain);
    Images out(dtype, n);
    DeviceMemory memory(out.output().data, n * size_of(dtype));
    cuda::unfold_gradient({arriving.data(), dtype, n_samples, n_features}, device_slots.view(), memory.data(), nullptr);
    memory.read(out.output().data);
    CHECK(out == expected);
}

void unfold_gradients() {
    int step = 0;
    for (const DType dtype : floats) {
        for (int kind = 0; kind < n_kinds; ++kind) {
            for (const std::int64_t n_features : {1, 15, 16, 17, 18, 31, 32, 33, 63, 64, 65, 1000, 1024, 2500}) {
                for (const std::int64_t n_samples : {0, 1, 3, 17}) {
                    check_unfold_gradient(dtype, static_cast<Kind>(kind), n_samples, n_features, ++step % 3 == 0);
                }
            }
        }
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"sizes", sizes}, {"formulas", formulas}, {"unfold_gradients", unfold_gradients}});
}
