#include "pixfold/packed.hpp"

#include "call.hpp"

namespace pixfold::cuda::bindings {
namespace {

PackedView rows_of_packed(Address bits, std::int64_t n_samples, std::int64_t n_features, std::int64_t sample_stride) {
    return {at<std::uint8_t>(bits), n_samples, n_features, sample_stride};
}

void fold_of_packed(const PackedView& x, const Slots& layout, Address planes, std::int64_t element, Address out,
                    Address scratch, int device, Address stream, Address sample) {
    const FoldPackedArguments arguments{
        x, layout, at<void>(planes), element, at<void>(out), at<std::uint32_t>(scratch), at<std::int64_t>(sample)};
    queue("fold", {device, stream}, [&](void* on) { fold_packed(arguments, on); });
}

void means(const PackedView& x, const Slots& layout, Address values, Address out, const std::string& dtype,
           Address scratch, int device, Address stream, Address sample) {
    const FoldPackedMeans arguments{x,
                                    layout,
                                    at<float>(values),
                                    {at<void>(out), dtype_of(dtype)},
                                    at<std::uint32_t>(scratch),
                                    at<std::int64_t>(sample)};
    queue("fold", {device, stream}, [&](void* on) { fold_packed_means(arguments, on); });
}

}  // namespace

void register_packed(py::module_& module) {
    py::class_<PackedView>(module, "PackedRows", "Packed genotypes on a device; the stride in bytes.")
        .def(py::init(&rows_of_packed), py::arg("bits"), py::arg("n_samples"), py::arg("n_features"),
             py::arg("sample_stride"))
        .def_property_readonly("scratch", &packed_scratch, "Words of 32 bits that a fold of these rows works in.");
    module.def("fold_packed", &fold_of_packed, py::arg("x"), py::arg("slots"), py::arg("planes"), py::arg("element"),
               py::arg("out"), py::arg("scratch"), py::arg("device"), py::arg("stream"), py::arg("sample") = Address{0},
               "Queue the fold of packed genotypes into out. sample: int64, the rows to fold.");
    module.def("fold_packed_means", &means, py::arg("x"), py::arg("slots"), py::arg("values"), py::arg("out"),
               py::arg("dtype"), py::arg("scratch"), py::arg("device"), py::arg("stream"),
               py::arg("sample") = Address{0}, "The same where pixels show several features; values are of slots.");
}

}  // namespace pixfold::cuda::bindings
