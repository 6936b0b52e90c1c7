// fold of compressed sparse rows: against the literal loop, and bit by bit against the dense kernel. A device has the
// bits of the CPU, in every way that the kernels have.
#include <algorithm>
#include <vector>

#include "device_fold.hpp"
#include "device_matrices.hpp"
#include "pixfold/fold.hpp"
#include "sides.hpp"

namespace pixfold::tests {
namespace {

constexpr DType outputs[] = {DType::f32, DType::f16, DType::bf16};

// Only stored entries count as missing or negative.
FoldCounts stored_counts(const Csr& csr, const Layout& layout, const Normaliser* normaliser) {
    FoldCounts counts;
    const CsrView& x = csr.view();
    for (std::int64_t e = 0; normaliser != nullptr && e < x.row_start[x.n_samples]; ++e) {
        const std::int64_t j = x.wide_indices ? static_cast<const std::int64_t*>(x.indices)[e]
                                              : static_cast<const std::int32_t*>(x.indices)[e];
        const std::int64_t slot = layout.slot_of_feature()[j];
        if (slot >= 0) {
            const double value = read_element(x.dtype, static_cast<const char*>(x.values) + e * size_of(x.dtype));
            const double offset = static_cast<double>(normaliser->offset[static_cast<std::size_t>(slot)]);
            counts.missing += std::isnan(value) ? 1 : 0;
            counts.negative += value + offset < 0.0 ? 1 : 0;
        }
    }
    return counts;
}

void check_on_cpu(const Matrix& x, bool wide, const Layout& layout, const Normaliser* normaliser, DType out,
                  std::initializer_list<int> threads) {
    const Csr csr(x, wide);
    const Dense dense(x, Storage::packed);
    const SlotView slots = layout.view();
    const FoldCounts expected_counts = stored_counts(csr, layout, normaliser);
    const NormalizeParameters parameters =
        normaliser != nullptr ? normaliser->parameters(x.dtype) : NormalizeParameters{};
    const std::int64_t n = x.n_samples * slots.n_pixels;
    const Folded expected = fold_reference(x, slots, normaliser);
    context = std::string(name_of(x.dtype)) + " to " + name_of(out) + ", " + text(x.n_samples) + " samples of " +
              text(x.n_features) + " features" + (wide ? ", wide" : "");
    Images same(out, n);  // what the dense kernel gives
    on_cpu({1}, [&](int) {
        cpu::fold_dense(dense.view(), slots, parameters, same.output(), 1);
        check_images(same, out, expected);
        for (const int n_threads : threads) {
            Images images(out, n);
            const FoldCounts counts =
                cpu::fold_csr(csr.view(), slots, layout.slot_of_feature(), parameters, images.output(), n_threads);
            CHECK_EQUAL(counts.missing, expected_counts.missing);
            CHECK_EQUAL(counts.negative, expected_counts.negative);
            CHECK(images == same);
        }
    });
}

struct Counted {
    FoldCounts counts;
    std::int64_t outside;
};

// All rows, or those of `sample`; parameters and images are of these.
Counted fold_rows(const CsrView& x, const Layout& layout, const NormalizeParameters& parameters, Images& images,
                  const std::vector<std::int64_t>* sample = nullptr, std::int64_t behind = 0) {
    const SlotView slots = layout.view();
    const DType out = images.output().dtype;
    const DeviceCsr rows(x);
    CsrView view = rows.view();
    DeviceArray<std::int64_t> device_sample(sample != nullptr ? *sample : std::vector<std::int64_t>{});
    if (sample != nullptr) {
        view.n_samples = static_cast<std::int64_t>(sample->size());
    }
    const DeviceSlots device_slots(slots);
    const DeviceParameters device_parameters(parameters, slots.n_slots, view.n_samples, x.dtype);
    // An all-zero sample: one zero, seen everywhere.
    DeviceArray<std::int64_t> zero(std::vector<std::int64_t>{0});
    NormalizeParameters of_zero = device_parameters.view();
    of_zero.row_scale = nullptr;
    DeviceMemory background(slots.n_pixels * size_of(out));
    cuda::fold_dense({zero.data(), x.dtype, 1, x.n_features, 0, 0}, device_slots.view(), of_zero,
                     {background.data(), out}, nullptr, nullptr);
    std::vector<char> of_zeros(static_cast<std::size_t>(slots.n_pixels * size_of(out)));
    background.read(of_zeros.data());
    const bool zeros = std::all_of(of_zeros.begin(), of_zeros.end(), [](char byte) { return byte == 0; });

    const auto n = static_cast<std::size_t>(x.n_features);
    DeviceArray<std::int32_t> slot(layout.slot_of_feature(), x.n_features);
    std::vector<std::int32_t> pixels(n, -1);
    for (std::int64_t k = 0; k < slots.n_slots; ++k) {
        pixels[static_cast<std::size_t>(slots.feature[k])] = slots.pixel[k];
    }
    DeviceArray<std::int32_t> pixel(pixels);
    const bool all = slots.n_slots == x.n_features;
    DeviceArray<unsigned long long> counts(std::vector<unsigned long long>{0, 0, 0});
    // Images begin `behind` elements behind a 16-byte boundary, between bytes that nobody may touch.
    constexpr std::int64_t edge = 16;
    const std::int64_t before = edge + behind * size_of(out);
    const std::int64_t bytes = images.size() * size_of(out);
    std::vector<char> found(static_cast<std::size_t>(before + bytes + edge), '\xab');
    DeviceMemory memory(found.data(), static_cast<std::int64_t>(found.size()));
    cuda::fold_csr({view,
                    device_slots.view(),
                    all && slots.identity_features ? nullptr : slot.data(),
                    all && slots.identity_features && slots.identity_pixels ? nullptr : pixel.data(),
                    device_parameters.view(),
                    {static_cast<char*>(memory.data()) + before, out},
                    zeros ? nullptr : background.data(),
                    counts.data(),
                    sample != nullptr ? device_sample.data() : nullptr},
                   nullptr);
    memory.read(found.data());
    const auto untouched = [](char byte) { return byte == '\xab'; };
    CHECK(std::all_of(found.begin(), found.begin() + before, untouched));
    CHECK(std::all_of(found.begin() + before + bytes, found.end(), untouched));
    std::copy_n(found.begin() + before, bytes, static_cast<char*>(images.output().data));
    const std::vector<unsigned long long> sums = counts.read();
    return {{static_cast<std::int64_t>(sums[0]), static_cast<std::int64_t>(sums[1])},
            static_cast<std::int64_t>(sums[2])};
}

void check_on_device(const Matrix& x, bool wide, const Layout& layout, const Normaliser* normaliser, DType out) {
    context = "device, " + std::string(name_of(x.dtype)) + " to " + name_of(out) + ", " + text(x.n_samples) +
              " samples of " + text(x.n_features) + " features" + (wide ? ", wide" : "");
    const Csr csr(x, wide);
    const SlotView slots = layout.view();
    const NormalizeParameters parameters =
        normaliser != nullptr ? normaliser->parameters(x.dtype) : NormalizeParameters{};
    const std::int64_t n = x.n_samples * slots.n_pixels;
    Images images(out, n);
    const Counted counted = fold_rows(csr.view(), layout, parameters, images);
    CHECK_EQUAL(counted.outside, 0);
    check_images(images, out, fold_reference(x, slots, normaliser));
    Images cpu(out, n);
    const FoldCounts counts = cpu::fold_csr(csr.view(), slots, layout.slot_of_feature(), parameters, cpu.output(), 1);
    if (normaliser != nullptr) {
        CHECK_EQUAL(counted.counts.missing, counts.missing);
        CHECK_EQUAL(counted.counts.negative, counts.negative);
    }
    // The CPU has the device's bits where it fuses multiplications and additions, too.
    if (isa_in_use() != "baseline" || normaliser == nullptr || !normaliser->log) {
        CHECK(images == cpu);
    }
}

void check_fold(const Matrix& x, bool wide, const Layout& layout, const Normaliser* normaliser, DType out,
                std::initializer_list<int> threads) {
    for (const Side side : sides()) {
        if (side == Side::cpu) {
            check_on_cpu(x, wide, layout, normaliser, out, threads);
        } else {
            check_on_device(x, wide, layout, normaliser, out);
        }
    }
}

void sizes() {
    each_size({1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, 1023, 1024, 1025, 16385, 18225},
              [](int step, const Matrix& x, const Layout& layout, Normaliser& normaliser) {
                  // A row scale with an offset is not defined for sparse rows; one of the two then.
                  if (step % 2 == 0) {
                      normaliser.set_offset(0.0f);
                  }
                  check_fold(x, (step / 7) % 2 == 0, layout, step % 5 == 0 ? nullptr : &normaliser, outputs[step % 3],
                             {1, 3});
              });
}

void dtypes() {
    for (const DType dtype : all_dtypes) {
        for (const bool wide : {false, true}) {
            for (const Kind kind : {Kind::shuffled, Kind::dropped, Kind::many}) {
                const Matrix x = make_matrix(dtype, 11, 90, 7, true, true);
                const Layout layout(kind, 90);
                Normaliser normaliser(layout.n_slots(), 4);
                normaliser.clip_below_zero = true;
                check_fold(x, wide, layout, &normaliser, DType::f32, {1, 2, 4});
                check_fold(x, wide, layout, nullptr, DType::f16, {1});
            }
        }
    }
}

// Numbers with few others than zeros.
Matrix few_of(std::int64_t n_samples, std::int64_t n_features, std::size_t one_of) {
    Matrix x = make_matrix(DType::f32, n_samples, n_features, 15, true);
    for (std::size_t k = 0; k < x.values.size(); ++k) {
        x.values[k] = k % one_of == 3 ? x.values[k] : 0.0;
    }
    return x;
}

// Output so large that it is written past the caches: the bits of dense samples.
void streamed() {
    const Matrix x = few_of(480, 18225, 16);
    for (const Kind kind : {Kind::natural, Kind::shuffled}) {
        check_on_cpu(x, kind == Kind::natural, Layout(kind, 18225), nullptr, DType::f32, {2});
    }
}

// Images of several parts of a device (10,000 or 20,000 pixels), and too many of them to look through each row that
// often.
void large() {
    for (const std::int64_t n : {10000, 10001, 20011, 41000}) {
        for (const Kind kind : {Kind::natural, Kind::gather, Kind::shuffled}) {
            const Matrix x = few_of(3, n, 16);
            const Layout layout(kind, n);
            const Normaliser normaliser(layout.n_slots(), 5);
            check_fold(x, kind == Kind::gather, layout, &normaliser, DType::f32, {2});
            check_fold(x, kind == Kind::natural, layout, nullptr, DType::bf16, {2});
        }
    }
}

// Wherever images begin in memory, and rows shorter than an access: the CPU's bits, and not a byte beside them.
void alignments() {
    int step = 0;
    for (const std::int64_t n : {1, 3, 7, 200, 333, 20001}) {
        const Matrix x = n > 1000 ? few_of(2, n, 11) : make_matrix(DType::f32, 5, n, 3, true, true);
        const Csr csr(x, n == 200);
        for (const std::int64_t behind : {0, 1, 2, 3, 5, 6, 7}) {
            for (const Kind kind : {Kind::natural, Kind::shuffled}) {
                const Layout layout(kind, n);
                Normaliser normaliser(layout.n_slots(), 5);
                normaliser.log = step % 2 == 0;
                if (step % 4 < 2) {
                    normaliser.set_offset(0.0f);
                    normaliser.set_row_scale(x.n_samples);
                }
                const NormalizeParameters parameters =
                    step % 3 == 0 ? NormalizeParameters{} : normaliser.parameters(x.dtype);
                const DType out = outputs[(step + step / 3) % 3];
                context = text(n) + " features, " + name_of(out) + " " + text(behind) + " behind, step " + text(step);
                Images images(out, x.n_samples * layout.view().n_pixels),
                    expected(out, x.n_samples * layout.view().n_pixels);
                const Counted counted = fold_rows(csr.view(), layout, parameters, images, nullptr, behind);
                const FoldCounts counts = cpu::fold_csr(csr.view(), layout.view(), layout.slot_of_feature(), parameters,
                                                        expected.output(), 1);
                CHECK(images == expected);
                CHECK(!parameters.normalise ||
                      (counted.counts.missing == counts.missing && counted.counts.negative == counts.negative));
                ++step;
            }
        }
    }
}

#ifdef PIXFOLD_SIMT_SHIM
// However many blocks there are, the same bits.
void grids() {
    const std::int64_t most = cuda::simt::most_blocks;
    const Matrix x = make_matrix(DType::f32, 7, 700, 9, true, true);
    const Csr csr(x, false);
    const Layout layout(Kind::shuffled, 700);
    const Normaliser normaliser(layout.n_slots(), 5);
    for (const NormalizeParameters& parameters : {NormalizeParameters{}, normaliser.parameters(DType::f32)}) {
        Images first(DType::f32, 7 * layout.view().n_pixels);
        fold_rows(csr.view(), layout, parameters, first);
        for (const std::int64_t blocks : {1, 2, 5, 1000}) {
            context = text(blocks) + " blocks";
            cuda::simt::most_blocks = blocks;
            Images images(DType::f32, 7 * layout.view().n_pixels);
            fold_rows(csr.view(), layout, parameters, images);
            CHECK(images == first);
        }
        cuda::simt::most_blocks = most;
    }
}
#endif

// Samples without an entry, first, last and in between; and a matrix without any.
void empty_rows() {
    for (const Kind kind : {Kind::natural, Kind::shuffled, Kind::many}) {
        const Layout layout(kind, 50);
        const Normaliser normaliser(layout.n_slots(), 5);
        Matrix x = make_matrix(DType::f32, 6, 50, 8);
        for (const std::int64_t i : {0, 3, 5}) {
            std::fill_n(x.values.begin() + i * 50, 50, 0.0);
        }
        check_fold(x, false, layout, &normaliser, DType::f32, {1, 2});
        x.values.assign(x.values.size(), 0.0);
        const Csr csr(x, true, 0);
        const SlotView slots = layout.view();
        CHECK_EQUAL(csr.view().row_start[6], 0);
        Images images(DType::f32, 6 * slots.n_pixels);
        cpu::fold_csr(csr.view(), slots, layout.slot_of_feature(), normaliser.parameters(x.dtype), images.output(), 2);
        check_images(images, DType::f32, fold_reference(x, slots, &normaliser));
    }
}

// Rows in any order, some of them twice: in every way that the kernels have.
void gathered() {
    for (const std::int64_t n_features : {70, 20000, 81000}) {
        for (const Kind kind : {Kind::natural, Kind::shuffled, Kind::many}) {
            const Matrix x = few_of(n_features > 100 ? 3 : 19, n_features, 9);
            const Csr all(x, kind == Kind::shuffled);
            const Layout layout(kind, n_features);
            const SlotView slots = layout.view();
            for (const std::vector<std::int64_t>& samples : pickings(x.n_samples)) {
                context = text(samples.size()) + " of " + text(x.n_samples) + " samples of " + text(n_features);
                const Csr some(picked(x, samples), kind == Kind::shuffled);
                Normaliser normaliser(layout.n_slots(), 5);
                normaliser.log = false;
                normaliser.set_offset(0.0f);
                if (!samples.empty()) {
                    normaliser.set_row_scale(some.view().n_samples);
                }
                const NormalizeParameters parameters = normaliser.parameters(x.dtype);
                Images images(DType::f16, some.view().n_samples * slots.n_pixels);
                fold_rows(all.view(), layout, parameters, images, &samples);
                Images expected(DType::f16, some.view().n_samples * slots.n_pixels);
                cpu::fold_csr(some.view(), slots, layout.slot_of_feature(), parameters, expected.output(), 1);
                CHECK(images == expected);
            }
        }
    }
}

// Indices beyond the features, which nobody has looked at before: counted, and nothing is written for them.
void outside() {
    for (const std::int64_t n : {60, 20000, 41000}) {
        for (const Kind kind : {Kind::natural, Kind::shuffled, Kind::many}) {
            const std::vector<float> values(5, 1.0f);
            const std::vector<std::int32_t> indices{-7, 3, 5, static_cast<std::int32_t>(n), 2000000000};
            const std::vector<std::int64_t> row_start{0, 5};
            const Layout layout(kind, n);
            const SlotView slots = layout.view();
            Images images(DType::f32, slots.n_pixels);
            const Counted counted =
                fold_rows({values.data(), DType::f32, indices.data(), false, row_start.data(), 1, n}, layout,
                          NormalizeParameters{}, images);
            context = text(n) + " features, layout " + text(static_cast<int>(kind));
            CHECK_EQUAL(counted.outside, 3);
            Matrix x{DType::f32, 1, n, std::vector<double>(static_cast<std::size_t>(n), 0.0)};
            x.values[3] = x.values[5] = 1.0;
            check_images(images, DType::f32, fold_reference(x, slots, nullptr));
        }
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"sizes", sizes},
                {"dtypes", dtypes},
                {"streamed", only(Side::cpu, streamed)},
                {"large", large},
                {"empty_rows", empty_rows},
                {"gathered", only(Side::device, gathered)},
                {"alignments", only(Side::device, alignments)},
#ifdef PIXFOLD_SIMT_SHIM
                {"grids", only(Side::device, grids)},
#endif
                {"outside", only(Side::device, outside)}});
}
