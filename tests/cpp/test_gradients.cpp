// fold_gradient and unfold_gradient: every dtype, storage, layout and size around the edges of vectors, tiles and
// chunks, and of warps and runs of a device. The CPU's fold_gradient is held to literal loops, a device's to the CPU's
// bits. What is clipped, and how, is compared with a reference in tests/ops/test_fold_gradient.py.
#include <cstring>
#include <vector>

#include "device_fold.hpp"
#include "device_matrices.hpp"
#include "pixfold/fold_gradient.hpp"
#include "pixfold/unfold_gradient.hpp"
#include "sides.hpp"

namespace pixfold::tests {
namespace {

constexpr DType floats[] = {DType::f32, DType::f64, DType::f16, DType::bf16};
constexpr DType image_dtypes[] = {DType::f32, DType::f16, DType::bf16};
constexpr double library_size = 50.0;

std::string what(const Matrix& x, Storage storage, DType image_dtype) {
    return std::string(name_of(x.dtype)) + " from " + name_of(image_dtype) + ", " + text(x.n_samples) + " samples of " +
           text(x.n_features) + " features, storage " + text(static_cast<int>(storage));
}

std::vector<std::int64_t> sharing_of(const SlotView& slots) {
    std::vector<std::int64_t> features(static_cast<std::size_t>(slots.n_pixels), 0);
    for (std::int64_t k = 0; k < slots.n_slots; ++k) {
        ++features[static_cast<std::size_t>(slots.pixel[k])];
    }
    return features;
}

// The contract in double. Each derivative takes at most 8 roundings of its size on the kernel's way: the division by
// the number of features, the scale's product, x + offset, the row scale and its product, 1 + a, the quotient. A row
// scale adds two to the value itself; in the common term each summand has one more for x + offset, and the sum is
// rounded once. The difference rounds once more: 12 of the sum of sizes are more than all of them.
std::vector<Bounded> fold_gradient_reference(const Matrix& x, const Matrix& gradient, const SlotView& slots,
                                             const Normaliser* normaliser) {
    const double u = compute_precision(x.dtype).roundoff;
    const std::vector<std::int64_t> sharing = sharing_of(slots);
    std::vector<Bounded> out(static_cast<std::size_t>(x.n_samples * x.n_features));
    for (std::int64_t i = 0; i < x.n_samples; ++i) {
        const bool scaled = normaliser != nullptr && !normaliser->row_scale.empty();
        const double r = scaled ? normaliser->row_scale[static_cast<std::size_t>(i)] : 1.0;
        double common = 0.0;
        double size = 0.0;
        for (std::int64_t k = 0; k < slots.n_slots; ++k) {
            const auto slot = static_cast<std::size_t>(k);
            double d =
                gradient.at(i, slots.pixel[k]) / static_cast<double>(sharing[static_cast<std::size_t>(slots.pixel[k])]);
            const double value = x.at(i, slots.feature[k]);
            if (normaliser != nullptr) {
                const double lifted = value + normaliser->offset64[slot];
                d *= normaliser->scale64[slot] / (normaliser->log ? 1.0 + lifted * r : 1.0);
                d = std::isnan(value) || normaliser->scale64[slot] == 0.0 ? 0.0 : d;
                common += std::isnan(value) ? 0.0 : d * lifted * r * r / library_size;
                size += std::isnan(value) ? 0.0 : std::fabs(d * lifted) * r * r / library_size;
            }
            out[static_cast<std::size_t>(i * x.n_features + slots.feature[k])] = {d * r, 12.0 * u * std::fabs(d * r)};
        }
        for (std::int64_t j = 0; scaled && j < x.n_features; ++j) {
            Bounded& value = out[static_cast<std::size_t>(i * x.n_features + j)];
            const bool still = std::isnan(x.at(i, j)) || r == 0.0;
            value = still ? Bounded{} : Bounded{value.value - common, value.error + 12.0 * u * size};
        }
    }
    return out;
}

void check_on_cpu(const Matrix& x, Storage storage, const Layout& layout, const Normaliser* normaliser,
                  DType image_dtype) {
    const SlotView slots = layout.view();
    const Dense dense(x, storage);
    const Matrix gradient = make_matrix(image_dtype, x.n_samples, slots.n_pixels, 11, false, true);
    const Dense images(gradient, Storage::packed);
    const std::vector<Bounded> expected = fold_gradient_reference(x, gradient, slots, normaliser);
    const NormalizeParameters parameters =
        normaliser != nullptr ? normaliser->parameters(x.dtype) : NormalizeParameters{};
    const auto n = static_cast<std::int64_t>(expected.size());
    Images first(x.dtype, n);
    bool seen = false;
    context = what(x, storage, image_dtype);
    on_cpu({1, 3}, [&](int threads) {
        Images out(x.dtype, n);
        cpu::fold_gradient(dense.view(), slots, parameters, library_size, {images.view().data, image_dtype},
                           out.output().data, threads);
        for (std::int64_t at = 0; !seen && at < n; ++at) {
            const Bounded& value = expected[static_cast<std::size_t>(at)];
            CHECK(rounded(x.dtype, value.value - value.error) <= out.at(at));
            CHECK(out.at(at) <= rounded(x.dtype, value.value + value.error));
        }
        first = seen ? first : out;
        seen = true;
        CHECK(out == first);  // without limits there is no logarithm in it, and so all sets agree
    });
}

void cpu_sizes() {
    int step = 0;
    for (const std::int64_t n : {1, 15, 17, 64, 255, 256, 257, 16383, 16385, 18225}) {
        for (const std::int64_t n_samples : {0, 1, 3, 6}) {
            for (int kind = 0; kind < n_kinds; ++kind, ++step) {
                const DType dtype = floats[step % 4];
                const Matrix x = make_matrix(dtype, n > 2000 ? std::min<std::int64_t>(n_samples, 3) : n_samples, n,
                                             static_cast<std::uint64_t>(step), true);
                const Layout layout(static_cast<Kind>(kind), n);
                Normaliser normaliser(layout.n_slots(), 3);
                normaliser.log = step % 3 != 0;
                normaliser.lo = -infinity;
                normaliser.hi = infinity;
                if (step % 2 == 0) {
                    normaliser.set_row_scale(x.n_samples);
                }
                check_on_cpu(x, static_cast<Storage>((step / 7) % n_storages), layout,
                             step % 5 == 0 ? nullptr : &normaliser, image_dtypes[(step / 4) % 3]);
            }
        }
    }
}

// Beyond the limits, and below 0 where that is clipped, nothing moves.
void clipped() {
    const Layout layout(Kind::natural, 70);
    for (const DType dtype : floats) {
        const Matrix x = make_matrix(dtype, 4, 70, 5, false, true);
        const Matrix ones{DType::f32, 4, layout.n_pixels(),
                          std::vector<double>(static_cast<std::size_t>(4 * layout.n_pixels()), 1.0)};
        const Dense dense(x, Storage::packed);
        const Dense images(ones, Storage::packed);
        NormalizeParameters parameters{};
        parameters.normalise = true;
        parameters.clip_below_zero = true;
        parameters.lo = -infinity;
        parameters.hi = 8.0;
        context = name_of(dtype);
        on_cpu({1}, [&](int threads) {
            Images out(dtype, 4 * 70);
            cpu::fold_gradient(dense.view(), layout.view(), parameters, 0.0, {images.view().data, DType::f32},
                               out.output().data, threads);
            for (std::int64_t at = 0; at < out.size(); ++at) {
                const double value = x.values[static_cast<std::size_t>(at)];
                CHECK_EQUAL(out.at(at), value < 0.0 || value > 8.0 ? 0.0 : 1.0);
            }
        });
    }
}

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

void check_on_device(const Matrix& x, Storage storage, const Layout& layout, const NormalizeParameters& parameters,
                     DType image_dtype, bool plain = false) {
    context = what(x, storage, image_dtype) + (parameters.log ? ", log" : "") +
              (parameters.row_scale != nullptr ? ", row scale" : "") + (plain ? ", plain" : "");
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
void device_sizes() {
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
                check_on_device(x, static_cast<Storage>((step / 7) % (n_storages - 1)), layout,
                                step % 5 == 0 ? NormalizeParameters{} : normaliser.parameters(x.dtype),
                                image_dtypes[(step / 4) % 3], step % 11 == 0);
            }
        }
    }
}

// Every part of the formula alone and with the others.
void device_formulas() {
    for (const DType dtype : floats) {
        const Matrix x = make_matrix(dtype, 5, 1030, 12, true, true);
        for (const Kind kind : {Kind::shuffled, Kind::many, Kind::natural}) {
            if (kind == Kind::natural && dtype != DType::f32) {
                continue;  // floats have a kernel of their own there
            }
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
                check_on_device(x, Storage::packed, layout, parameters, image_dtypes[parts % 3]);
            }
        }
    }
}

// Memory on the device with `before` bytes of poison before n bytes, and 32 behind them.
struct Poisoned {
    std::int64_t before, n;
    DeviceMemory memory;

    Poisoned(const void* values, std::int64_t bytes, std::int64_t behind)
        : before(behind), n(bytes), memory(filled(values).data(), before + n + 32) {}
    std::vector<char> filled(const void* values) const {
        std::vector<char> all(static_cast<std::size_t>(before + n + 32), '\xab');
        if (values != nullptr) {
            std::memcpy(all.data() + before, values, static_cast<std::size_t>(n));
        }
        return all;
    }
    void* data() { return static_cast<char*>(memory.data()) + before; }
    bool holds(const void* values) const {
        std::vector<char> found(static_cast<std::size_t>(before + n + 32));
        memory.read(found.data());
        return found == filled(values);
    }
};

// Floats in their order, at every alignment of samples, gradients and results: the CPU's bits, and no byte beside them.
void device_alignments() {
    int step = 0;
    for (const std::int64_t n : {1, 3, 4, 5, 66, 511, 1030}) {
        for (const std::int64_t n_samples : {1, 5, 35}) {
            const Matrix x = make_matrix(DType::f32, n_samples, n, static_cast<std::uint64_t>(n), true, step % 2 == 0);
            const Dense dense(x, Storage::packed);
            for (std::int64_t behind = 0; behind < 4; ++behind) {
                for (std::int64_t other = 0; other < 4; ++other, ++step) {
                    const Layout layout(Kind::natural, n);
                    SlotView slots = layout.view();
                    slots.n_pixels = n + step % 6;
                    Normaliser normaliser(n, 8);
                    normaliser.log = step % 3 != 0;
                    normaliser.clip_below_zero = step % 2 == 0;
                    if (step % 4 == 1) {
                        normaliser.lo = -infinity;
                        normaliser.hi = infinity;
                    }
                    NormalizeParameters parameters = normaliser.parameters(DType::f32);
                    if (step % 5 == 2) {
                        parameters.offset = parameters.shift = parameters.scale = nullptr;
                    }
                    if (step % 7 == 3) {
                        parameters = NormalizeParameters{};
                    }
                    const DType image_dtype = image_dtypes[step % 3];
                    context = text(n_samples) + " samples of " + text(n) + ", " + text(behind) + " and " + text(other) +
                              " behind, step " + text(step);
                    const Matrix gradient = make_matrix(image_dtype, n_samples, slots.n_pixels, 11, false, true);
                    const Dense images(gradient, Storage::packed);
                    std::vector<float> expected(static_cast<std::size_t>(n_samples * n));
                    cpu::fold_gradient(dense.view(), slots, parameters, library_size, {images.view().data, image_dtype},
                                       expected.data(), 1);
                    const std::int64_t bytes = n_samples * n * 4;
                    Poisoned samples(dense.view().data, bytes, 4 * behind);
                    Poisoned arriving(images.view().data, n_samples * slots.n_pixels * size_of(image_dtype),
                                      size_of(image_dtype) * other);
                    Poisoned out(nullptr, bytes, 4 * ((behind + other) % 4));
                    const DeviceSlots device_slots(slots);
                    const DeviceParameters device_parameters(parameters, n, n_samples, DType::f32);
                    cuda::fold_gradient({{samples.data(), DType::f32, n_samples, n, 4 * n, 4},
                                         device_slots.view(),
                                         nullptr,
                                         nullptr,
                                         device_parameters.view(),
                                         library_size,
                                         {arriving.data(), image_dtype},
                                         out.data(),
                                         nullptr},
                                        nullptr);
                    CHECK(!same_bits(parameters) || out.holds(expected.data()));
                }
            }
        }
    }
}

void unfold_gradients() {
    int step = 0;
    for (const DType dtype : floats) {
        for (int kind = 0; kind < n_kinds; ++kind) {
            for (const std::int64_t n_features :
                 {1, 15, 16, 17, 18, 31, 32, 33, 63, 64, 65, 1000, 1024, 1025, 2500, 4099}) {
                for (const std::int64_t n_samples : {0, 1, 3, 5, 17}) {
                    const Layout layout(static_cast<Kind>(kind), n_features);
                    const SlotView slots = layout.view();
                    const Matrix gradient = make_matrix(dtype, n_samples, n_features, 9, false, true);
                    const Dense features(gradient, Storage::packed);
                    Images expected(dtype, n_samples * slots.n_pixels);
                    for (std::int64_t i = 0; i < n_samples; ++i) {
                        std::vector<double> sums(static_cast<std::size_t>(slots.n_pixels), 0.0);
                        for (std::int64_t k = 0; k < slots.n_slots; ++k) {
                            sums[static_cast<std::size_t>(slots.pixel[k])] += gradient.at(i, slots.feature[k]);
                        }
                        for (std::int64_t p = 0; p < slots.n_pixels; ++p) {
                            char* const images = static_cast<char*>(expected.output().data);
                            write_element(dtype, sums[static_cast<std::size_t>(p)],
                                          images + (i * slots.n_pixels + p) * size_of(dtype));
                        }
                    }
                    const bool plain = ++step % 3 == 0;
                    context = std::string(name_of(dtype)) + ", " + text(n_samples) + " samples of " + text(n_features) +
                              " features, layout " + text(kind) + (plain ? ", plain" : "");
                    for (const Side side : sides()) {
                        if (side == Side::cpu) {
                            on_cpu({1, 3}, [&](int threads) {
                                Images out(dtype, expected.size());
                                cpu::unfold_gradient({features.view().data, dtype, n_samples, n_features}, slots,
                                                     out.output().data, threads);
                                CHECK(out == expected);
                            });
                        } else {
                            DeviceArray<char> arriving(features.memory());
                            const DeviceSlots device_slots(slots, plain);
                            Images out(dtype, expected.size());
                            DeviceMemory memory(out.output().data, expected.size() * size_of(dtype));
                            cuda::unfold_gradient({arriving.data(), dtype, n_samples, n_features}, device_slots.view(),
                                                  memory.data(), nullptr);
                            memory.read(out.output().data);
                            CHECK(out == expected);
                        }
                    }
                }
            }
        }
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"cpu_sizes", only(Side::cpu, cpu_sizes)},
                {"clipped", only(Side::cpu, clipped)},
                {"device_sizes", only(Side::device, device_sizes)},
                {"device_formulas", only(Side::device, device_formulas)},
                {"device_alignments", only(Side::device, device_alignments)},
                {"unfold_gradients", unfold_gradients}});
}
