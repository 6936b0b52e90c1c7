#include "fold_csr.hpp"
#include "parameters.hpp"
#include "register.hpp"

namespace pixfold::cuda::bindings {
namespace {

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

void register_fold_csr(py::module_& module) {
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
