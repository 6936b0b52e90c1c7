#include "call.hpp"
#include "fold.hpp"
#include "parameters.hpp"
#include "register.hpp"

namespace pixfold::cuda::bindings {
namespace {

DenseView samples(Address data, const std::string& dtype, std::int64_t n_samples, std::int64_t n_features,
                  std::int64_t sample_stride, std::int64_t feature_stride) {
    return {at<void>(data), dtype_of(dtype), n_samples, n_features, sample_stride, feature_stride};
}

Slots slots(Address feature, Address first_slot, std::int64_t n_slots, std::int64_t n_pixels, bool one_to_one) {
    return {at<std::int32_t>(feature), at<std::int32_t>(first_slot), n_slots, n_pixels, one_to_one};
}

NormalizeParameters parameters(bool log, bool clip_below_zero, Address offset, Address shift, Address scale,
                               Address fill, double lo, double hi) {
    return {true, log, clip_below_zero, at<void>(offset), at<void>(shift), at<void>(scale), at<void>(fill),
            lo,   hi,  nullptr};
}

void fold_of_dense(const DenseView& x, const Slots& layout, const NormalizeParameters* parameters, Address row_scale,
                   Address out, const std::string& dtype, Address counts, int device, Address stream,
                   Address sample_offset) {
    const FoldOutput images{at<void>(out), dtype_of(dtype)};
    queue("fold", {device, stream}, [&](void* on) {
        fold_dense(x, layout, with_row_scale(parameters, row_scale), images, at<unsigned long long>(counts), on,
                   at<std::int64_t>(sample_offset));
    });
}

}  // namespace

void register_fold(py::module_& module) {
    py::class_<DenseView>(module, "Samples", "A strided matrix on a device; strides in bytes.")
        .def(py::init(&samples), py::arg("data"), py::arg("dtype"), py::arg("n_samples"), py::arg("n_features"),
             py::arg("sample_stride"), py::arg("feature_stride"));
    py::class_<Slots>(module, "Slots", "A layout on a device, by pixel.")
        .def(py::init(&slots), py::arg("feature"), py::arg("first_slot"), py::arg("n_slots"), py::arg("n_pixels"),
             py::arg("one_to_one"));
    py::class_<NormalizeParameters>(module, "Parameters", "A normaliser's formula with its arrays on a device.")
        .def(py::init(&parameters), py::arg("log"), py::arg("clip_below_zero"), py::arg("offset"), py::arg("shift"),
             py::arg("scale"), py::arg("fill"), py::arg("lo"), py::arg("hi"));
    module.def(
        "fold_dense", &fold_of_dense, py::arg("x"), py::arg("slots"), py::arg("parameters").none(true),
        py::arg("row_scale"), py::arg("out"), py::arg("dtype"), py::arg("counts"), py::arg("device"), py::arg("stream"),
        py::arg("sample_offset") = Address{0},
        "Queue the fold of dense samples into out; adds to counts (missing, negative). sample_offset: int64, the "
        "bytes from x's data to each sample.");
}

}  // namespace pixfold::cuda::bindings
