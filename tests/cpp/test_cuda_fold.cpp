// fold of dense samples for CUDA: every dtype, storage, layout and size around the edges of warps and tiles, against
// the literal loop and, bit by bit, the CPU.
#include <vector>

#include "checks.hpp"
#include "cpu/dispatch.hpp"
#include "device_fold.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::tests {
namespace {

constexpr DType outputs[] = {DType::f32, DType::f16, DType::bf16};

// The CPU's bits are the device's where it fuses multiplications and additions, too.
bool same_bits(const Normaliser* normaliser) {
    return isa_in_use() != "baseline" || normaliser == nullptr || !normaliser->log;
}

void check_fold(const Matrix& x, Storage storage, const Layout& layout, const Normaliser* normaliser, DType out,
                bool plain = false) {
    context = std::string(name_of(x.dtype)) + " to " + name_of(out) + ", " + text(x.n_samples) + " samples of " +
              text(x.n_features) + " features, storage " + text(static_cast<int>(storage)) +
              (normaliser != nullptr ? ", normalised" : "") + (plain ? ", plain" : "");
    const Dense dense(x, storage);
    const SlotView slots = layout.view();
    const NormalizeParameters parameters =
        normaliser != nullptr ? normaliser->parameters(x.dtype) : NormalizeParameters{};
    const std::int64_t n = x.n_samples * slots.n_pixels;

    DeviceArray<char> memory(dense.memory());
    DenseView view = dense.view();
    view.data = memory.data() + (static_cast<const char*>(view.data) - dense.memory().data());
    const DeviceSlots device_slots(slots, plain);
    const DeviceParameters device_parameters(parameters, slots.n_slots, x.n_samples, x.dtype);
    Images images(out, n);
    const FoldCounts counts = fold_on_device(images, [&](FoldOutput to, unsigned long long* added) {
        cuda::fold_dense(view, device_slots.view(), device_parameters.view(), to, added, nullptr);
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

// Around a warp (32), a thread's pixels (4) and a tile (1,024).
void sizes() {
    each_size({1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, 1023, 1024, 1025, 4099},
              [](int step, const Matrix& x, const Layout& layout, const Normaliser& normaliser) {
                  // The last storage, elements at any address, is refused for CUDA.
                  check_fold(x, static_cast<Storage>((step / 7) % (n_storages - 1)), layout,
                             step % 5 == 0 ? nullptr : &normaliser, outputs[step % 3]);
              });
}

void dtypes() {
    for (const DType dtype : all_dtypes) {
        for (int kind = 0; kind < n_kinds; ++kind) {
            const Matrix x = make_matrix(dtype, 5, 84, 7, true, true);
            const Layout layout(static_cast<Kind>(kind), 84);
            Normaliser normaliser(layout.n_slots(), 4);
            normaliser.log = false;
            for (const DType out : outputs) {
                check_fold(x, Storage::packed, layout, nullptr, out);
                check_fold(x, Storage::packed, layout, &normaliser, out);
            }
        }
    }
}

void storages() {
    for (int storage = 0; storage < n_storages - 1; ++storage) {
        for (const DType dtype : all_dtypes) {
            const Matrix x = make_matrix(dtype, 9, 72, 8, true);
            for (const Kind kind : {Kind::natural, Kind::shuffled, Kind::many}) {
                const Layout layout(kind, 72);
                const Normaliser normaliser(layout.n_slots(), 5);
                check_fold(x, static_cast<Storage>(storage), layout, &normaliser, DType::f32);
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
                check_fold(x, Storage::packed, layout, &normaliser, outputs[parts % 3]);
            }
        }
    }
}

// Short cuts change nothing but the time: without them the bits are the same.
void short_cuts() {
    const Matrix x = make_matrix(DType::f32, 4, 1300, 11, true);
    for (int kind = 0; kind < n_kinds; ++kind) {
        const Layout layout(static_cast<Kind>(kind), 1300);
        const Normaliser normaliser(layout.n_slots(), 7);
        check_fold(x, Storage::packed, layout, &normaliser, DType::f32, true);
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

// One sample seen many times: a stride of 0.
void broadcast() {
    const Matrix x = make_matrix(DType::f32, 1, 40, 9);
    const Dense row(x, Storage::packed);
    const Layout layout(Kind::shuffled, 40);
    const SlotView slots = layout.view();
    DenseView view = row.view();
    view.n_samples = 6;
    view.sample_stride = 0;
    Images cpu(DType::f32, 6 * slots.n_pixels);
    cpu::fold_dense(view, slots, NormalizeParameters{}, cpu.output(), 1);
    DeviceArray<char> memory(row.memory());
    view.data = memory.data();
    const DeviceSlots device_slots(slots);
    Images images(DType::f32, 6 * slots.n_pixels);
    fold_on_device(images, [&](FoldOutput to, unsigned long long* counts) {
        cuda::fold_dense(view, device_slots.view(), NormalizeParameters{}, to, counts, nullptr);
    });
    CHECK(images == cpu);
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
    return run({{"sizes", sizes},
                {"dtypes", dtypes},
                {"storages", storages},
                {"formulas", formulas},
                {"short_cuts", short_cuts},
                {"absent_parameters", absent_parameters},
                {"broadcast", broadcast},
                {"gathered", gathered}});
}
