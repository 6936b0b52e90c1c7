// fold of compressed sparse rows: against the literal loop, and bit by bit against the dense kernel.
#include <vector>

#include "checks.hpp"
#include "cpu/dispatch.hpp"
#include "images.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::tests {
namespace {

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

void check_fold(const Matrix& x, bool wide, const Layout& layout, const Normaliser* normaliser, DType out,
                const std::vector<int>& threads) {
    const Csr csr(x, wide);
    const Dense dense(x, Storage::packed);
    const SlotView slots = layout.view();
    const FoldCounts expected_counts = stored_counts(csr, layout, normaliser);
    const NormalizeParameters parameters =
        normaliser != nullptr ? normaliser->parameters(x.dtype) : NormalizeParameters{};
    const std::int64_t n = x.n_samples * slots.n_pixels;
    const Folded expected = fold_reference(x, slots, normaliser);
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        context = isa + " dense " + name_of(x.dtype) + " to " + name_of(out) + ", " + text(x.n_samples) +
                  " samples of " + text(x.n_features) + " features";
        Images same(out, n);
        cpu::fold_dense(dense.view(), slots, parameters, same.output(), 1);
        check_images(same, out, expected);
        for (const int n_threads : threads) {
            context = isa + " " + name_of(x.dtype) + " to " + name_of(out) + ", " + text(x.n_samples) + " samples of " +
                      text(x.n_features) + " features, " + text(n_threads) + " threads" + (wide ? ", wide" : "");
            Images images(out, n);
            const FoldCounts counts =
                cpu::fold_csr(csr.view(), slots, layout.slot_of_feature(), parameters, images.output(), n_threads);
            CHECK_EQUAL(counts.missing, expected_counts.missing);
            CHECK_EQUAL(counts.negative, expected_counts.negative);
            CHECK(images == same);
        }
    }
}

void sizes() {
    each_size({1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 16385, 18225},
              [](int step, const Matrix& x, const Layout& layout, Normaliser& normaliser) {
                  // A row scale with an offset is not defined for sparse rows; one of the two then.
                  if (step % 2 == 0) {
                      normaliser.set_offset(0.0f);
                  }
                  constexpr DType outputs[] = {DType::f32, DType::f16, DType::bf16};
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

// Output so large that it is written past the caches: the bits of dense samples.
void streamed() {
    constexpr std::int64_t n_features = 18225;
    constexpr std::int64_t n_samples = 480;
    Matrix x = make_matrix(DType::f32, n_samples, n_features, 15, true);
    for (std::size_t k = 0; k < x.values.size(); ++k) {
        x.values[k] = k % 16 == 3 ? x.values[k] : 0.0;
    }
    for (const Kind kind : {Kind::natural, Kind::shuffled}) {
        const Layout layout(kind, n_features);
        check_fold(x, kind == Kind::natural, layout, nullptr, DType::f32, {2});
    }
}

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

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"sizes", sizes}, {"dtypes", dtypes}, {"streamed", streamed}, {"empty_rows", empty_rows}});
}
