#include "pixfold/fold.hpp"

#include "call.hpp"
#include "parameters.hpp"

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

CsrView rows_of_csr(Address values, const std::string& dtype, Address indices, bool wide_indices, Address row_start,
                    std::int64_t n_samples, std::int64_t n_features) {
    return {at<void>(values), dtype_of(dtype), at<void>(indices), wide_indices, at<std::int64_t>(row_start),
            n_samples,        n_features};
}

void fold_of_csr(const CsrView& x, const Slots& layout, Address slot_of_feature, Address pixel_of_feature,
                 const NormalizeParameters* parameters, Address row_scale, Address background, Address out,
                 const std::string& dtype, Address counts, int device, Address stream, Address sample) {
    const FoldCsrArguments arguments{x,
                                     layout,
                                     at<std::int32_t>(slot_of_feature),
                                     at<std::int32_t>(pixel_of_feature),
                                     with_row_scale(parameters, row_scale),
                                     {at<void>(out), dtype_of(dtype)},
                                     at<void>(background),
                                     at<unsigned long long>(counts),
                                     at<std::int64_t>(sample)};
    queue("fold", {device, stream}, [&](void* on) { fold_csr(arguments, on); });
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
    py::class_<CsrView>(module, "CsrRows", "Compressed sparse rows on a device, indices of each row increasing.")
        .def(py::init(&rows_of_csr), py::arg("values"), py::arg("dtype"), py::arg("indices"), py::arg("wide_indices"),
             py::arg("row_start"), py::arg("n_samples"), py::arg("n_features"));
    module.def("fold_csr", &fold_of_csr, py::arg("x"), py::arg("slots"), py::arg("slot_of_feature"),
               py::arg("pixel_of_feature"), py::arg("parameters").none(true), py::arg("row_scale"),
               py::arg("background"), py::arg("out"), py::arg("dtype"), py::arg("counts"), py::arg("device"),
               py::arg("stream"), py::arg("sample") = Address{0},
               "Queue the fold of sparse rows into out; adds to counts (missing, negative, indices out of range). "
               "sample: int64, the rows to fold.");
}

}  // namespace pixfold::cuda::bindings
