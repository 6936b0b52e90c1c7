#include "arrays.hpp"
#include "pixfold/dispatch.hpp"
#include "pixfold/threads.hpp"
#include "register.hpp"

namespace pixfold::bindings {
namespace {

constexpr const char* op = "aggregate";

void aggregate(const py::array& attributions, bool bfloat16, const py::array& labels, const py::array& keep,
               py::array count, py::array mean, py::array m2, py::array mean_abs, int threads) {
    const DType dtype = dtype_of(op, "attributions", attributions, bfloat16);
    const bool is_float = dtype == DType::f32 || dtype == DType::f64 || dtype == DType::f16 || dtype == DType::bf16;
    if (attributions.ndim() != 3 || (attributions.flags() & py::array::c_style) == 0 || !is_float ||
        attributions.shape(1) < 1 || !is_aligned(attributions, static_cast<std::size_t>(attributions.itemsize()))) {
        refuse(op, "attributions", "a C-contiguous and aligned float array (n_samples, n_channels, n_pixels)",
               describe(attributions));
    }
    const std::int64_t n_samples = attributions.shape(0);
    const std::int64_t n_pixels = attributions.shape(2);
    const std::int64_t n_classes = count.size();
    const std::int64_t* label = vector_of<std::int64_t>(op, "labels", labels, n_samples);
    for (std::int64_t b = 0; b < n_samples; ++b) {
        if (label[b] < 0 || label[b] >= n_classes) {
            refuse(op, "labels", "in [0, " + std::to_string(n_classes) + ")",
                   std::to_string(label[b]) + " at position " + std::to_string(b));
        }
    }
    const bool* kept = vector_of<bool>(op, "keep", keep, n_samples);
    const auto* kept_bytes = reinterpret_cast<const unsigned char*>(kept);
    for (std::int64_t b = 0; b < n_samples; ++b) {  // memory that was only called bool may hold anything
        if (kept_bytes[b] > 1) {
            refuse(op, "keep", "True or False", "byte " + std::to_string(kept_bytes[b]));
        }
    }
    std::int64_t* counts = output_of<std::int64_t>(op, "count", count, n_classes);
    for (std::int64_t k = 0; k < n_classes; ++k) {
        if (counts[k] < 0 || counts[k] > std::numeric_limits<std::int64_t>::max() - n_samples) {
            refuse(op, "count", "a number of samples", std::to_string(counts[k]));
        }
    }
    const std::int64_t size = product(n_classes, n_pixels);
    const AggregateArguments arguments{attributions.data(),
                                       dtype,
                                       n_samples,
                                       attributions.shape(1),
                                       n_pixels,
                                       label,
                                       kept,
                                       n_classes,
                                       counts,
                                       output_of<double>(op, "mean", mean, size),
                                       output_of<double>(op, "m2", m2, size),
                                       output_of<double>(op, "mean_abs", mean_abs, size)};
    const int used = threads_for(threads, attributions.nbytes());
    bool finite = false;
    {
        py::gil_scoped_release release;
        finite = kernels().all_finite(arguments.attributions, dtype, attributions.size(), used);
        if (finite) {
            kernels().aggregate(arguments, used);
        }
    }
    if (!finite) {
        refuse(op, "attributions", "finite", "NaN or infinite values");
    }
}

}  // namespace

void register_aggregate(py::module_& module) {
    module.def("aggregate", &aggregate, py::arg("attributions"), py::arg("bfloat16"), py::arg("labels"),
               py::arg("keep"), py::arg("count"), py::arg("mean"), py::arg("m2"), py::arg("mean_abs"),
               py::arg("threads"), "Add a batch of attributions to the running moments.");
}

}  // namespace pixfold::bindings
