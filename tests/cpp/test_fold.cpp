// fold of dense samples: every dtype, storage, layout and size around the edges of vectors, tiles and chunks, and of
// warps and tiles of a device, with every instruction set and several numbers of threads, against a literal loop. A
// device has the CPU's bits.
#include <vector>

#include "device_fold.hpp"
#include "device_matrices.hpp"
#include "pixfold/fold.hpp"
#include "sides.hpp"

namespace pixfold::tests {
namespace {

constexpr DType outputs[] = {DType::f32, DType::f16, DType::bf16};

// Whether this set has a logarithm of its own (see fold.hpp), so that its bits are compared with nobody else's.
bool own_bits(const std::string& isa, const Normaliser* normaliser) {
    return isa == "baseline" && normaliser != nullptr && normaliser->log;
}

std::string what(const Matrix& x, Storage storage, const Normaliser* normaliser, DType out) {
    return std::string(name_of(x.dtype)) + " to " + name_of(out) + ", " + text(x.n_samples) + " samples of " +
           text(x.n_features) + " features, storage " + text(static_cast<int>(storage)) +
           (normaliser != nullptr ? ", normalised" : "");
}

// Folds with every instruction set; those that share their bits must give the first one's, which are compared with the
// reference.
void check_on_cpu(const Matrix& x, Storage storage, const Layout& layout, const Normaliser* normaliser, DType out,
                  std::initializer_list<int> threads) {
    const Dense dense(x, storage);
    const SlotView slots = layout.view();
    const Folded expected = fold_reference(x, slots, normaliser);
    const NormalizeParameters parameters =
        normaliser != nullptr ? normaliser->parameters(x.dtype) : NormalizeParameters{};
    const std::int64_t n = x.n_samples * slots.n_pixels;
    Images first(out, n);
    std::string of;  // the set that it is of
    context = what(x, storage, normaliser, out);
    on_cpu(threads, [&](int n_threads) {
        Images images(out, n);
        const FoldCounts counts = cpu::fold_dense(dense.view(), slots, parameters, images.output(), n_threads);
        CHECK_EQUAL(counts.missing, expected.counts.missing);
        CHECK_EQUAL(counts.negative, expected.counts.negative);
        const std::string isa = isa_in_use();
        if (of.empty() || (of != isa && own_bits(of, normaliser))) {
            check_images(images, out, expected);
            first = images;
            of = isa;
        }
        CHECK(images == first);
    });
}

// The CPU's bits are the device's where it fuses multiplications and additions, too.
bool same_bits(const Normaliser* normaliser) {
    return isa_in_use() != "baseline" || normaliser == nullptr || !normaliser->log;
}

void check_on_device(const Matrix& x, Storage storage, const Layout& layout, const Normaliser* normaliser, DType out,
                     bool plain = false) {
    context = "device, " + what(x, storage, normaliser, out) + (plain ? ", plain" : "");
    const Dense dense(x, storage);
    const SlotView slots = layout.view();
    const NormalizeParameters parameters =
        normaliser != nullptr ? normaliser->parameters(x.dtype) : NormalizeParameters{};
    const std::int64_t n = x.n_samples * slots.n_pixels;
    const DeviceDense samples(dense);
    const DeviceSlots device_slots(slots, plain);
    const DeviceParameters device_parameters(parameters, slots.n_slots, x.n_samples, x.dtype);
    Images images(out, n);
    const FoldCounts counts = fold_on_device(images, [&](FoldOutput to, unsigned long long* added) {
        cuda::fold_dense(samples.view(), device_slots.view(), device_parameters.view(), to, added, nullptr);
    });
    const Folded expected = fold_reference(x, slots, normaliser);
    CHECK_EQUAL(counts.missing, expected.counts.missing);
    CHECK_EQUAL(counts.negative, expected.counts.negative);
    check_images(images, out, expected);
    if (same_bits(normaliser)) {
        Images cpu(out, n);
        cpu::fold_dense(dense.view(), slots, parameters, cpu.output(), 1);
        CHECK(images == cpu);
    }
}

void check_fold(const Matrix& x, Storage storage, const Layout& layout, const Normaliser* normaliser, DType out,
                std::initializer_list<int> threads) {
    for (const Side side : sides()) {
        if (side == Side::cpu) {
            check_on_cpu(x, storage, layout, normaliser, out, threads);
        } else if (storage != Storage::unaligned) {  // elements at any address, refused for CUDA
            check_on_device(x, storage, layout, normaliser, out);
        }
    }
}

// Around one vector of each set, one tile (256) and one chunk (16,384).
void cpu_sizes() {
    each_size({1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 257, 1023, 1024, 1025, 16383, 16384, 16385, 18225},
              [](int step, const Matrix& x, const Layout& layout, const Normaliser& normaliser) {
                  check_on_cpu(x, static_cast<Storage>((step / 7) % n_storages), layout,
                               step % 5 == 0 ? nullptr : &normaliser, outputs[step % 3], {1, 3});
              });
}

// Around a warp (32), a thread's pixels (4) and a tile (1,024).
void device_sizes() {
    each_size({1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, 1023, 1024, 1025, 4099},
              [](int step, const Matrix& x, const Layout& layout, const Normaliser& normaliser) {
                  check_on_device(x, static_cast<Storage>((step / 7) % (n_storages - 1)), layout,
                                  step % 5 == 0 ? nullptr : &normaliser, outputs[step % 3]);
              });
}

// Every dtype with every layout and output, plain and normalised, at an odd number of features and at one of fours.
void dtypes() {
    for (const DType dtype : all_dtypes) {
        for (int kind = 0; kind < n_kinds; ++kind) {
            for (const std::int64_t n_features : {83, 84}) {
                const Matrix x = make_matrix(dtype, 5, n_features, 7, true, true);
                const Layout layout(static_cast<Kind>(kind), n_features);
                Normaliser normaliser(layout.n_slots(), 4);
                normaliser.log = false;
                for (const DType out : outputs) {
                    check_fold(x, Storage::packed, layout, nullptr, out, {1});
                    check_fold(x, Storage::packed, layout, &normaliser, out, {1});
                }
            }
        }
    }
}

void storages() {
    for (int storage = 0; storage < n_storages; ++storage) {
        for (const DType dtype : all_dtypes) {
            for (const std::int64_t n_features : {70, 72}) {
                const Matrix x = make_matrix(dtype, 9, n_features, 8, true);
                for (const Kind kind : {Kind::natural, Kind::shuffled, Kind::many}) {
                    const Layout layout(kind, n_features);
                    const Normaliser normaliser(layout.n_slots(), 5);
                    check_fold(x, static_cast<Storage>(storage), layout, &normaliser, DType::f32, {1, 2});
                }
            }
        }
    }
}

// Every part of the formula alone and with the others: the presets are some of these.
void formulas() {
    for (const DType dtype : {DType::f32, DType::f16, DType::f64, DType::i8, DType::i32}) {
        const Matrix x = make_matrix(dtype, 4, 100, 12, true, true);
        for (const Kind kind : {Kind::natural, Kind::shuffled, Kind::many}) {
            const Layout layout(kind, 100);
            for (int parts = 0; parts < 16; ++parts) {
                Normaliser normaliser(layout.n_slots(), 8);
                // A logarithm of negative numbers is what clip_below_zero is there to prevent.
                normaliser.log = (parts & 1) != 0;
                normaliser.clip_below_zero = (parts & 3) != 0;
                if ((parts & 4) != 0) {
                    normaliser.set_offset(0.0f);
                }
                if ((parts & 8) != 0) {
                    normaliser.set_row_scale(4);
                }
                check_fold(x, Storage::packed, layout, &normaliser, outputs[parts % 3], {1});
            }
        }
    }
}

// One sample seen many times, and on the CPU one value seen everywhere: strides of 0.
void broadcast() {
    const Matrix x = make_matrix(DType::f32, 1, 40, 9);
    const Layout layout(Kind::shuffled, 40);
    const SlotView slots = layout.view();
    const Folded repeated = fold_reference(picked(x, std::vector<std::int64_t>(6, 0)), slots, nullptr);
    const Dense row(x, Storage::packed);
    DenseView view = row.view();
    view.n_samples = 6;
    view.sample_stride = 0;
    Images images(DType::f32, 6 * slots.n_pixels);
    for (const Side side : sides()) {
        if (side == Side::device) {
            DeviceArray<char> memory(row.memory());
            DenseView there = view;
            there.data = memory.data();
            const DeviceSlots device_slots(slots);
            fold_on_device(images, [&](FoldOutput to, unsigned long long* counts) {
                cuda::fold_dense(there, device_slots.view(), NormalizeParameters{}, to, counts, nullptr);
            });
            check_images(images, DType::f32, repeated);
            continue;
        }
        on_cpu({2}, [&](int n_threads) {
            cpu::fold_dense(view, slots, NormalizeParameters{}, images.output(), n_threads);
            check_images(images, DType::f32, repeated);
            DenseView everywhere = view;
            everywhere.feature_stride = 0;
            cpu::fold_dense(everywhere, slots, NormalizeParameters{}, images.output(), n_threads);
            for (std::int64_t k = 0; k < slots.n_slots; ++k) {
                CHECK_EQUAL(images.at(5 * slots.n_pixels + slots.pixel[k]), x.at(0, 0));
            }
        });
    }
}

// The bits for 1 to 4 threads, with several chunks to a sample.
void threads() {
    for (const Kind kind : {Kind::natural, Kind::shuffled, Kind::many}) {
        const Matrix x = make_matrix(DType::f32, 3, 40000, 10, true);
        const Layout layout(kind, 40000);
        const Normaliser normaliser(layout.n_slots(), 6);
        check_on_cpu(x, Storage::packed, layout, &normaliser, DType::f32, {1, 2, 3, 4});
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

// Short cuts change nothing but the time: without them the bits are the same.
void short_cuts() {
    const Matrix x = make_matrix(DType::f32, 4, 1300, 11, true);
    for (int kind = 0; kind < n_kinds; ++kind) {
        const Layout layout(static_cast<Kind>(kind), 1300);
        const Normaliser normaliser(layout.n_slots(), 7);
        check_on_device(x, Storage::packed, layout, &normaliser, DType::f32, true);
    }
}

// Parameters that do nothing are not there; values go through unchanged but for clipping.
void absent_parameters() {
    const Matrix x = make_matrix(DType::f32, 3, 50, 13);
    const Layout layout(Kind::shuffled, 50);
    const SlotView slots = layout.view();
    Normaliser normaliser(layout.n_slots(), 9);
    normaliser.log = false;
    NormalizeParameters parameters = normaliser.parameters(x.dtype);
    parameters.offset = parameters.shift = parameters.scale = nullptr;
    const Dense dense(x, Storage::packed);
    Images cpu(DType::f32, 3 * slots.n_pixels);
    cpu::fold_dense(dense.view(), slots, parameters, cpu.output(), 1);
    DeviceArray<char> memory(dense.memory());
    DenseView view = dense.view();
    view.data = memory.data();
    const DeviceSlots device_slots(slots);
    const DeviceParameters device_parameters(parameters, slots.n_slots, 3, x.dtype);
    Images images(DType::f32, 3 * slots.n_pixels);
    fold_on_device(images, [&](FoldOutput to, unsigned long long*) {
        cuda::fold_dense(view, device_slots.view(), device_parameters.view(), to, nullptr, nullptr);
    });
    CHECK(images == cpu);
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

// Samples in groups: (groups, features, samples of a group), the last group not full.
class Interleaved {
  public:
    Interleaved(const Matrix& x, std::int64_t group) : x_(x), group_(group) {
        bytes_.resize(static_cast<std::size_t>((x.n_samples + group - 1) / group * group_bytes()));
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            for (std::int64_t j = 0; j < x.n_features; ++j) {
                write_element(x.dtype, x.at(i, j), bytes_.data() + offset(i) + j * group * size_of(x.dtype));
            }
        }
    }
    const std::vector<char>& memory() const { return bytes_; }
    std::int64_t offset(std::int64_t i) const { return i / group_ * group_bytes() + i % group_ * size_of(x_.dtype); }

  private:
    std::int64_t group_bytes() const { return x_.n_features * group_ * size_of(x_.dtype); }

    const Matrix& x_;
    std::int64_t group_;
    std::vector<char> bytes_;
};

// Any samples of a matrix, by where they begin: from rows and from groups of samples side by side.
void check_gathered(const Matrix& x, std::int64_t group, const std::vector<std::int64_t>& samples, Kind kind, DType out,
                    bool plain) {
    context = std::string(name_of(x.dtype)) + " to " + name_of(out) + ", " + text(samples.size()) + " of " +
              text(x.n_samples) + " samples in groups of " + text(group) + ", layout " + text(static_cast<int>(kind));
    const Layout layout(kind, x.n_features);
    const SlotView slots = layout.view();
    const Matrix some = picked(x, samples);
    Normaliser normaliser(layout.n_slots(), 3);
    if (some.n_samples > 0) {
        normaliser.set_row_scale(some.n_samples);
    }
    const NormalizeParameters parameters = normaliser.parameters(x.dtype);
    Images cpu(out, some.n_samples * slots.n_pixels);
    const Dense rows(some, Storage::packed);
    const FoldCounts expected = cpu::fold_dense(rows.view(), slots, parameters, cpu.output(), 1);

    const Interleaved store(x, group);
    DeviceArray<char> memory(store.memory());
    std::vector<std::int64_t> offsets;
    for (const std::int64_t i : samples) {
        offsets.push_back(store.offset(i));
    }
    DeviceArray<std::int64_t> device_offsets(offsets);
    const std::int64_t size = size_of(x.dtype);
    const DenseView view{memory.data(), x.dtype, some.n_samples, x.n_features, group > 1 ? size : x.n_features * size,
                         group * size};
    const DeviceSlots device_slots(slots, plain);
    const DeviceParameters device_parameters(parameters, slots.n_slots, some.n_samples, x.dtype);
    Images images(out, some.n_samples * slots.n_pixels);
#ifdef PIXFOLD_SIMT_SHIM
    const std::int64_t before = cuda::simt::launches;
#endif
    const FoldCounts counts = fold_on_device(images, [&](FoldOutput to, unsigned long long* added) {
        cuda::fold_dense(view, device_slots.view(), device_parameters.view(), to, added, nullptr,
                         device_offsets.data());
    });
#ifdef PIXFOLD_SIMT_SHIM
    CHECK_EQUAL(cuda::simt::launches - before, samples.empty() ? 0 : 1);
#endif
    CHECK_EQUAL(counts.missing, expected.missing);
    CHECK_EQUAL(counts.negative, expected.negative);
    if (same_bits(&normaliser)) {
        CHECK(images == cpu);
    }
}

void gathered() {
    int step = 0;
    for (const DType dtype : all_dtypes) {
        const std::int64_t sector = 32 / size_of(dtype);  // what memory gives at a time
        for (const std::int64_t n_features : {1, 33, 1027}) {
            for (const std::int64_t n_samples : {1, 19, 70}) {
                if (n_features > 100 && n_samples != 19) {
                    continue;
                }
                const Matrix x = make_matrix(dtype, n_samples, n_features, 14, true);
                for (const std::int64_t group : {std::int64_t{1}, sector, std::int64_t{3}}) {
                    for (const std::vector<std::int64_t>& samples : pickings(n_samples)) {
                        const Kind kind = static_cast<Kind>(step % n_kinds);
                        check_gathered(x, group, samples, kind, outputs[step % 3], step % 5 == 0);
                        ++step;
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
                {"device_sizes", only(Side::device, device_sizes)},
                {"dtypes", dtypes},
                {"storages", storages},
                {"formulas", formulas},
                {"broadcast", broadcast},
                {"threads", only(Side::cpu, threads)},
                {"flags", only(Side::cpu, flags)},
                {"short_cuts", only(Side::device, short_cuts)},
                {"absent_parameters", only(Side::device, absent_parameters)},
                {"streamed", only(Side::cpu, streamed)},
                {"specials", only(Side::cpu, specials)},
                {"gathered", only(Side::device, gathered)}});
}
