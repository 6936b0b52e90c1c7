// fold of dense samples: every dtype, storage, layout and size around the edges of vectors, tiles and chunks, with
// every instruction set and several numbers of threads, against a literal loop.
#include <vector>

#include "checks.hpp"
#include "cpu/dispatch.hpp"
#include "images.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::tests {
namespace {

constexpr DType outputs[] = {DType::f32, DType::f16, DType::bf16};

// Whether this set has a logarithm of its own (see fold.hpp), so that its bits are compared with nobody else's.
bool own_bits(const std::string& isa, const Normaliser* normaliser) {
    return isa == "baseline" && normaliser != nullptr && normaliser->log;
}

// Folds with every instruction set; those that share their bits must give the first one's, which are compared with the
// reference.
void check_fold(const Matrix& x, Storage storage, const Layout& layout, const Normaliser* normaliser, DType out,
                const std::vector<int>& threads) {
    const Dense dense(x, storage);
    const SlotView slots = layout.view();
    const Folded expected = fold_reference(x, slots, normaliser);
    const NormalizeParameters parameters =
        normaliser != nullptr ? normaliser->parameters(x.dtype) : NormalizeParameters{};
    const std::int64_t n = x.n_samples * slots.n_pixels;
    Images first(out, n);
    bool seen = false;
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        for (const int n_threads : threads) {
            context = isa + " " + name_of(x.dtype) + " to " + name_of(out) + ", " + text(x.n_samples) + " samples of " +
                      text(x.n_features) + " features, storage " + text(static_cast<int>(storage)) + ", " +
                      text(n_threads) + " threads";
            Images images(out, n);
            const FoldCounts counts = cpu::fold_dense(dense.view(), slots, parameters, images.output(), n_threads);
            CHECK_EQUAL(counts.missing, expected.counts.missing);
            CHECK_EQUAL(counts.negative, expected.counts.negative);
            if (!seen) {
                check_images(images, out, expected);
                first = images;
                seen = true;
            }
            CHECK(images == first);
        }
        seen = seen && !own_bits(isa, normaliser);
    }
}

// Around one vector of each set, one tile (256) and one chunk (16,384).
void sizes() {
    each_size({1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 257, 1023, 1024, 1025, 16383, 16384, 16385, 18225},
              [](int step, const Matrix& x, const Layout& layout, const Normaliser& normaliser) {
                  check_fold(x, static_cast<Storage>((step / 7) % n_storages), layout,
                             step % 5 == 0 ? nullptr : &normaliser, outputs[step % 3], {1, 3});
              });
}

// Every dtype with every layout and output, plain and normalised.
void dtypes() {
    for (const DType dtype : all_dtypes) {
        for (int kind = 0; kind < n_kinds; ++kind) {
            const Matrix x = make_matrix(dtype, 5, 83, 7, true, true);
            const Layout layout(static_cast<Kind>(kind), 83);
            Normaliser normaliser(layout.n_slots(), 4);
            normaliser.log = false;
            for (const DType out : outputs) {
                check_fold(x, Storage::packed, layout, nullptr, out, {1});
                check_fold(x, Storage::packed, layout, &normaliser, out, {1});
            }
        }
    }
}

void storages() {
    for (int storage = 0; storage < n_storages; ++storage) {
        for (const DType dtype : all_dtypes) {
            const Matrix x = make_matrix(dtype, 9, 70, 8, true);
            for (const Kind kind : {Kind::natural, Kind::shuffled, Kind::many}) {
                const Layout layout(kind, 70);
                const Normaliser normaliser(layout.n_slots(), 5);
                check_fold(x, static_cast<Storage>(storage), layout, &normaliser, DType::f32, {1, 2});
            }
        }
    }
}

// One sample seen many times, and one value seen everywhere: strides of 0.
void broadcast() {
    Matrix x = make_matrix(DType::f32, 1, 40, 9);
    const Layout layout(Kind::shuffled, 40);
    Matrix repeated = make_matrix(DType::f32, 6, 40, 9);
    for (std::int64_t i = 0; i < 6; ++i) {
        for (std::int64_t j = 0; j < 40; ++j) {
            repeated.values[static_cast<std::size_t>(i * 40 + j)] = x.at(0, j);
        }
    }
    const Dense row(x, Storage::packed);
    DenseView view = row.view();
    view.n_samples = 6;
    view.sample_stride = 0;
    const SlotView slots = layout.view();
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        Images images(DType::f32, 6 * slots.n_pixels);
        cpu::fold_dense(view, slots, NormalizeParameters{}, images.output(), 2);
        check_images(images, DType::f32, fold_reference(repeated, slots, nullptr));
        view.feature_stride = 0;
        cpu::fold_dense(view, slots, NormalizeParameters{}, images.output(), 2);
        for (std::int64_t k = 0; k < slots.n_slots; ++k) {
            CHECK_EQUAL(images.at(5 * slots.n_pixels + slots.pixel[k]), x.at(0, 0));
        }
        view.feature_stride = 4;
    }
}

// The bits for 1 to 4 threads, with several chunks to a sample.
void threads() {
    for (const Kind kind : {Kind::natural, Kind::shuffled, Kind::many}) {
        const Matrix x = make_matrix(DType::f32, 3, 40000, 10, true);
        const Layout layout(kind, 40000);
        const Normaliser normaliser(layout.n_slots(), 6);
        check_fold(x, Storage::packed, layout, &normaliser, DType::f32, {1, 2, 3, 4});
    }
}

// What the flags of a SlotView promise is a short cut only: without them the bits are the same.
void flags() {
    const Matrix x = make_matrix(DType::f32, 4, 3000, 11, true);
    const Dense dense(x, Storage::packed);
    for (const Kind kind : {Kind::natural, Kind::gather, Kind::scatter}) {
        const Layout layout(kind, 3000);
        const Normaliser normaliser(layout.n_slots(), 7);
        SlotView slots = layout.view();
        for (const std::string& isa : available_isas()) {
            set_isa(isa);
            Images with(DType::f32, 4 * slots.n_pixels);
            cpu::fold_dense(dense.view(), slots, normaliser.parameters(x.dtype), with.output(), 1);
            SlotView plain = slots;
            plain.identity_features = plain.identity_pixels = plain.one_to_one = false;
            Images without(DType::f32, 4 * slots.n_pixels);
            cpu::fold_dense(dense.view(), plain, normaliser.parameters(x.dtype), without.output(), 1);
            CHECK(with == without);
        }
    }
}

// Output so large that it is written past the caches: the bits of the same samples folded a few at a time.
void streamed() {
    constexpr std::int64_t n_features = 18225;
    constexpr std::int64_t n_samples = 1000;
    constexpr std::int64_t few = 125;
    const Matrix x = make_matrix(DType::f32, n_samples, n_features, 13, true);
    const Dense dense(x, Storage::packed);
    for (const Kind kind : {Kind::natural, Kind::gather, Kind::scatter}) {
        const Layout layout(kind, n_features);
        const SlotView slots = layout.view();
        const Normaliser normaliser(layout.n_slots(), 14);
        for (const DType out : {DType::f32, DType::bf16}) {
            const std::int64_t element = out == DType::f32 ? 4 : 2;
            for (const NormalizeParameters& parameters : {normaliser.parameters(x.dtype), NormalizeParameters{}}) {
                for (const std::string& isa : available_isas()) {
                    set_isa(isa);
                    context = isa + ", layout " + text(static_cast<int>(kind)) + " to " + name_of(out);
                    Images whole(out, n_samples * slots.n_pixels);
                    cpu::fold_dense(dense.view(), slots, parameters, whole.output(), 2);
                    for (std::int64_t i = 0; i < n_samples; i += few) {
                        Images part(out, few * slots.n_pixels);
                        DenseView view = dense.view();
                        view.data = static_cast<const char*>(view.data) + i * view.sample_stride;
                        view.n_samples = few;
                        cpu::fold_dense(view, slots, parameters, part.output(), 1);
                        const char* at = static_cast<const char*>(whole.output().data) + i * slots.n_pixels * element;
                        CHECK(std::memcmp(at, part.output().data,
                                          static_cast<std::size_t>(few * slots.n_pixels * element)) == 0);
                    }
                }
            }
        }
    }
}

// Negative numbers: counted as they come, and raised to 0 before the logarithm where that is asked.
void negatives() {
    for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::i8, DType::i32}) {
        const Matrix x = make_matrix(dtype, 5, 100, 12, true, true);
        const Layout layout(Kind::shuffled, 100);
        Normaliser normaliser(layout.n_slots(), 8);
        normaliser.clip_below_zero = true;
        check_fold(x, Storage::packed, layout, &normaliser, DType::f32, {1});
        normaliser.set_offset(0.0f);
        check_fold(x, Storage::packed, layout, &normaliser, DType::f32, {1});
    }
}

// Infinite values clip; a feature of scale 0 gives 0 for them too; -0 and subnormals pass a plain fold bit by bit.
void specials() {
    const Layout layout(Kind::natural, 6);
    const SlotView slots = layout.view();
    Normaliser normaliser(6, 9);
    normaliser.log = false;
    normaliser.set_offset(0.0f);
    normaliser.scale = {1.0f, 1.0f, 0.0f, 0.0f, 2.0f, 2.0f};
    Matrix x{DType::f32, 1, 6, {infinity, -infinity, infinity, -infinity, nan, -0.0}};
    const Dense dense(x, Storage::packed);
    Matrix tiny{DType::f32, 1, 6, {-0.0, 0x1p-149, -0x1p-149, infinity, -infinity, 0x1.fffffep127}};
    const Dense bits(tiny, Storage::packed);
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        context = isa;
        Images images(DType::f32, slots.n_pixels);
        const FoldCounts counts =
            cpu::fold_dense(dense.view(), slots, normaliser.parameters(x.dtype), images.output(), 1);
        CHECK_EQUAL(counts.missing, 1);
        CHECK_EQUAL(counts.negative, 2);
        CHECK_EQUAL(images.at(0), 3.5);
        CHECK_EQUAL(images.at(1), -2.5);
        CHECK_EQUAL(images.at(2), 0.0);
        CHECK_EQUAL(images.at(3), 0.0);
        CHECK_EQUAL(images.at(4), static_cast<double>(normaliser.fill[4]));
        cpu::fold_dense(bits.view(), slots, NormalizeParameters{}, images.output(), 1);
        CHECK_EQUAL(std::memcmp(images.output().data, bits.view().data, 24), 0);
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"sizes", sizes},
                {"dtypes", dtypes},
                {"storages", storages},
                {"broadcast", broadcast},
                {"threads", threads},
                {"flags", flags},
                {"streamed", streamed},
                {"negatives", negatives},
                {"specials", specials}});
}
