#include "pixfold/packed.hpp"

#include <cstring>
#include <memory>
#include <utility>

#include "cpu/threads.hpp"
#include "parameters.hpp"
#include "pixfold/fold.hpp"
#include "slots.hpp"
#include "statistics.hpp"

namespace pixfold::bindings {
namespace {

constexpr std::int64_t most_features = (std::int64_t{1} << 31) - 64;  // their positions are 32-bit

PackedView packed_view(const Arguments& of, const Array& bits, std::int64_t n_features) {
    if (n_features < 1 || n_features > most_features) {
        of.refuse("n_features", "in [1, " + std::to_string(most_features) + "]", std::to_string(n_features));
    }
    return of.packed("bits", bits, n_features);
}

// Memory on a cache line's edge, zeroed.
class Planes {
  public:
    Planes(std::int64_t n_pixels, std::int64_t element)
        : stride_((n_pixels + 63) / 64 * 64),
          bytes_(static_cast<std::size_t>(4 * stride_ * element)),
          memory_(new (std::align_val_t{64}) char[bytes_]) {
        std::memset(memory_.get(), 0, bytes_);
    }
    std::int64_t stride() const { return stride_; }
    char* data() { return memory_.get(); }
    const char* data() const { return memory_.get(); }

  private:
    struct Free {
        void operator()(char* memory) const { ::operator delete[](memory, std::align_val_t{64}); }
    };
    std::int64_t stride_;
    std::size_t bytes_;
    std::unique_ptr<char[], Free> memory_;
};

DType table_dtype(const std::string& name) {
    if (name == "float32") {
        return DType::f32;
    }
    if (name == "float16") {
        return DType::f16;
    }
    if (name == "bfloat16") {
        return DType::bf16;
    }
    throw py::value_error("PackedTable: dtype must be float32, float16 or bfloat16, got " + name);
}

// Made once for a layout, a normaliser and an output type, and used for any number of folds.
class PythonTable {
  public:
    PythonTable(const Slots& layout, OptionalParameters parameters, const Array& values, const std::string& dtype,
                int threads)
        : n_features_(layout.n_features()),
          n_pixels_(layout.view().n_pixels),
          dtype_(table_dtype(dtype)),
          planes_(n_pixels_, size_of(dtype_)) {
        const Arguments of("fold");
        SlotView slots = layout.view();
        if (!slots.one_to_one || n_features_ > most_features || n_pixels_ > most_features) {
            of.refuse("layout", "one feature per pixel and at most " + std::to_string(most_features) + " of them",
                      std::to_string(n_features_) + " features, " + std::to_string(n_pixels_) + " pixels");
        }
        const NormalizeParameters p = parameters_of(of, parameters, std::nullopt, false, slots.n_slots, 4);
        // The planes are the images of four samples, each of one code at every feature: the dense kernel's own bits.
        const DenseView samples{of.vector<float>("values", values, 4), DType::f32, 4, n_features_, sizeof(float), 0};
        const std::int64_t row_bytes = (n_features_ + 3) / 4;
        const bool natural = slots.identity_features && slots.identity_pixels;
        const int used = threads_for(threads, 4 * n_pixels_ * 4);
        py::gil_scoped_release release;
        if (!natural) {
            position_.reset(new std::int32_t[static_cast<std::size_t>(n_pixels_)]());
            for (std::int64_t k = 0; k < slots.n_slots; ++k) {
                position_[static_cast<std::size_t>(slots.pixel[k])] =
                    static_cast<std::int32_t>(packed_position(slots.feature[k], row_bytes));
            }
        }
        slots.n_pixels = planes_.stride();
        cpu::fold_dense(samples, slots, p, {planes_.data(), dtype_}, used);
    }

    PackedTable view() const { return {planes_.data(), planes_.stride(), dtype_, position_.get(), n_pixels_}; }
    std::int64_t n_features() const { return n_features_; }
    DType dtype() const { return dtype_; }

  private:
    std::int64_t n_features_;
    std::int64_t n_pixels_;
    DType dtype_;
    Planes planes_;
    std::unique_ptr<std::int32_t[]> position_;
};

void fold(const Array& bits, const PythonTable& table, const Array& out, int threads) {
    const Arguments of("fold");
    const PackedView view = packed_view(of, bits, table.n_features());
    const PackedTable t = table.view();
    void* images = of.output("out", out, t.dtype, product(view.n_samples, t.n_pixels));
    const int used = threads_for(threads, out.nbytes());
    py::gil_scoped_release release;
    cpu::fold_packed(view, t, images, used);
}

// A fold of every feature to a place of its own, the same four values everywhere.
void unpack(const Array& bits, std::int64_t n_features, const Array& values, const Array& out, int threads) {
    const Arguments of("PackedGenotypes.toarray");
    const PackedView view = packed_view(of, bits, n_features);
    const DType dtype = of.dtype_of("out", out);
    if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::i8) {
        of.refuse("out", "float32, float16 or int8", out.described());
    }
    const auto* from = static_cast<const char*>(of.elements("values", values, dtype, 4));
    void* memory = of.output("out", out, dtype, product(view.n_samples, n_features));
    const auto element = static_cast<std::size_t>(size_of(dtype));
    const int used = threads_for(threads, out.nbytes());
    py::gil_scoped_release release;
    Planes planes(n_features, size_of(dtype));
    for (std::int64_t p = 0; p < 4 * planes.stride(); ++p) {
        std::memcpy(planes.data() + static_cast<std::size_t>(p) * element,
                    from + static_cast<std::size_t>(p / planes.stride()) * element, element);
    }
    cpu::fold_packed(view, {planes.data(), planes.stride(), dtype, nullptr, n_features}, memory, used);
}

Statistics column_stats(const Array& bits, std::int64_t n_features, bool count_first, bool log, bool clip_below_zero,
                        const OptionalArray& offset, int threads) {
    const Arguments of("column_stats");
    const PackedView view = packed_view(of, bits, n_features);
    const StatsArguments arguments{log, clip_below_zero, of.vector<double>("offset", offset, n_features), nullptr};
    const int used = threads_for(threads, view.n_samples * view.row_bytes());
    return stats_of(n_features, [&](const StatsOutput& out) {
        return cpu::column_stats_packed(view, count_first ? 2 : 0, arguments, out, used);
    });
}

bool any_missing(const Array& bits, std::int64_t n_features, int threads) {
    const PackedView view = packed_view(Arguments("fold"), bits, n_features);
    const int used = threads_for(threads, view.n_samples * view.row_bytes());
    py::gil_scoped_release release;
    return cpu::any_missing_packed(view, used);
}

std::int64_t pack(const Array& x, bool count_first, std::int64_t missing, const Array& bits, int threads) {
    const Arguments of("PackedGenotypes.pack");
    const DenseView view = of.samples("G", x);
    auto* out = of.output<std::uint8_t>(
        "bits", bits, product(view.n_samples, view.n_features / 4 + (view.n_features % 4 > 0 ? 1 : 0)));
    const int used = threads_for(threads, view.n_samples * view.n_features * 2);
    py::gil_scoped_release release;
    return cpu::pack(view, {count_first ? 2 : 0, missing}, out, used);
}

}  // namespace

void register_packed(py::module_& module) {
    py::class_<PythonTable>(module, "PackedTable", "What each code of a packed genotype becomes at each pixel.")
        .def(py::init<const Slots&, OptionalParameters, const Array&, const std::string&, int>(), py::arg("slots"),
             py::arg("parameters"), py::arg("values"), py::arg("dtype"), py::arg("threads"));
    module.def("fold_packed", &fold, py::arg("bits"), py::arg("table"), py::arg("out"), py::arg("threads"),
               "Fold packed genotypes into out.");
    module.def("unpack", &unpack, py::arg("bits"), py::arg("n_features"), py::arg("values"), py::arg("out"),
               py::arg("threads"), "Write the value of every code into out.");
    module.def("column_stats_packed", &column_stats, py::arg("bits"), py::arg("n_features"), py::arg("count_first"),
               py::arg("log"), py::arg("clip_below_zero"), py::arg("offset"), py::arg("threads"),
               "(count, missing, zeros, min, max, mean, m2, n_negative, n_infinite) of packed genotypes.");
    module.def("any_missing_packed", &any_missing, py::arg("bits"), py::arg("n_features"), py::arg("threads"),
               "Whether any packed genotype is missing.");
    module.def("pack", &pack, py::arg("x"), py::arg("count_first"), py::arg("missing"), py::arg("bits"),
               py::arg("threads"),
               "Pack dense genotypes into bits; returns the first bad value's i * n_features + j, or -1.");
}

}  // namespace pixfold::bindings
