// fold_gradient and unfold_gradient: every dtype, layout and size around the edges of vectors, tiles and chunks, with
// every instruction set and several numbers of threads, against literal loops. What is clipped, and how, is compared
// with a reference in tests/ops/test_fold_gradient.py.
#include <vector>

#include "checks.hpp"
#include "cpu/dispatch.hpp"
#include "images.hpp"
#include "pixfold/fold_gradient.hpp"
#include "pixfold/unfold_gradient.hpp"

namespace pixfold::tests {
namespace {

constexpr DType floats[] = {DType::f32, DType::f64, DType::f16, DType::bf16};
constexpr DType image_dtypes[] = {DType::f32, DType::f16, DType::bf16};
constexpr double library_size = 50.0;

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

void check_fold_gradient(const Matrix& x, Storage storage, const Layout& layout, const Normaliser* normaliser,
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
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        for (const int threads : {1, 3}) {
            context = isa + " " + name_of(x.dtype) + " from " + name_of(image_dtype) + ", " + text(x.n_samples) +
                      " samples of " + text(x.n_features) + " features, storage " + text(static_cast<int>(storage)) +
                      ", " + text(threads) + " threads";
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
        }
    }
}

void fold_gradients() {
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
                check_fold_gradient(x, static_cast<Storage>((step / 7) % n_storages), layout,
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
        for (const std::string& isa : available_isas()) {
            set_isa(isa);
            context = isa + " " + name_of(dtype);
            Images out(dtype, 4 * 70);
            cpu::fold_gradient(dense.view(), layout.view(), parameters, 0.0, {images.view().data, DType::f32},
                               out.output().data, 1);
            for (std::int64_t at = 0; at < out.size(); ++at) {
                const double value = x.values[static_cast<std::size_t>(at)];
                CHECK_EQUAL(out.at(at), value < 0.0 || value > 8.0 ? 0.0 : 1.0);
            }
        }
    }
}

void unfold_gradients() {
    for (const DType dtype : floats) {
        for (int kind = 0; kind < n_kinds; ++kind) {
            for (const std::int64_t n_features : {1, 17, 65, 1025}) {
                const Layout layout(static_cast<Kind>(kind), n_features);
                const SlotView slots = layout.view();
                const Matrix gradient = make_matrix(dtype, 5, n_features, 9, false, true);
                const Dense features(gradient, Storage::packed);
                std::vector<double> expected(static_cast<std::size_t>(5 * slots.n_pixels), 0.0);
                for (std::int64_t i = 0; i < 5; ++i) {
                    for (std::int64_t k = 0; k < slots.n_slots; ++k) {
                        expected[static_cast<std::size_t>(i * slots.n_pixels + slots.pixel[k])] +=
                            gradient.at(i, slots.feature[k]);
                    }
                }
                for (const std::string& isa : available_isas()) {
                    set_isa(isa);
                    for (const int threads : {1, 3}) {
                        context =
                            isa + " " + name_of(dtype) + ", " + text(n_features) + " features, layout " + text(kind);
                        Images out(dtype, 5 * slots.n_pixels);
                        cpu::unfold_gradient({features.view().data, dtype, 5, n_features}, slots, out.output().data,
                                             threads);
                        for (std::int64_t at = 0; at < out.size(); ++at) {
                            CHECK_EQUAL(out.at(at), rounded(dtype, expected[static_cast<std::size_t>(at)]));
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
    return run({{"fold_gradients", fold_gradients}, {"clipped", clipped}, {"unfold_gradients", unfold_gradients}});
}
