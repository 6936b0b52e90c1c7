#include "pixfold/fold.hpp"

#include "bindings/parameters.hpp"
#include "call.hpp"
#include "device_rows.hpp"
#include "device_slots.hpp"
#include "fold_plan.hpp"

namespace pixfold::cuda::bindings {
namespace {

using pixfold::bindings::OptionalParameters;

// Missing values, negative ones and indices out of range.
unsigned long long* fold_counts(const Arguments& of, const OptionalArray& counts) {
    return counts ? reinterpret_cast<unsigned long long*>(of.output<std::int64_t>("counts", *counts, 3)) : nullptr;
}

void queue_fold_dense(const Array& x, const DeviceSlots& slots, OptionalParameters parameters,
                      const OptionalArray& row_scale, const Array& out, const OptionalArray& counts, Stream stream,
                      const OptionalArray& offsets) {
    const Arguments of = arguments("fold", "X", x);
    DenseView view = of.samples("X", x);
    const std::int64_t* sample_offset = nullptr;
    if (offsets) {
        view.n_samples = offsets->size();
        sample_offset = of.vector<std::int64_t>("offsets", offsets, view.n_samples);
    }
    const Slots& layout = slots.view(of, "X", view.n_features);
    const NormalizeParameters p =
        parameters_of(of, parameters, row_scale, computes_in_double(view.dtype), layout.n_slots, view.n_samples);
    const FoldOutput images = of.images("out", out, view.n_samples, layout.n_pixels);
    unsigned long long* met = fold_counts(of, counts);
    queue(of, stream, [&](void* on) { fold_dense(view, layout, p, images, met, on, sample_offset); });
}

void queue_fold_csr(const DeviceRows& rows, const DeviceSlots& slots, OptionalParameters parameters,
                    const OptionalArray& row_scale, const Array& out, const OptionalArray& background,
                    const OptionalArray& counts, Stream stream, const OptionalArray& samples) {
    const Arguments of = arguments("fold", "X", rows.values());
    CsrView view = rows.view();
    const std::int64_t* sample = nullptr;
    if (samples) {
        view.n_samples = samples->size();
        sample = of.vector<std::int64_t>("samples", samples, view.n_samples);
    }
    const Slots& layout = slots.view(of, "X", view.n_features);
    const FoldOutput images = of.images("out", out, view.n_samples, layout.n_pixels);
    const FoldCsrArguments fold{
        view,
        layout,
        slots.slot_of_feature(),
        slots.pixel_of_feature(),
        parameters_of(of, parameters, row_scale, computes_in_double(view.dtype), layout.n_slots, view.n_samples),
        images,
        background ? of.elements("background", *background, images.dtype, layout.n_pixels) : nullptr,
        fold_counts(of, counts),
        sample};
    queue(of, stream, [&](void* on) { fold_csr(fold, on); });
}

}  // namespace

void register_fold(py::module_& module) {
    pixfold::bindings::register_parameters(module);
    py::class_<DeviceSlots>(module, "Slots", "A layout on a device, by pixel.")
        .def(py::init<OptionalArray, OptionalArray, OptionalArray, OptionalArray, std::int64_t, std::int64_t,
                      std::int64_t, bool>(),
             py::arg("feature"), py::arg("first_slot"), py::arg("slot_of_feature"), py::arg("pixel_of_feature"),
             py::arg("n_features"), py::arg("n_slots"), py::arg("n_pixels"), py::arg("one_to_one"))
        .def_property_readonly("n_features", &DeviceSlots::n_features)
        .def_property_readonly("n_slots", &DeviceSlots::n_slots)
        .def_property_readonly("n_pixels", &DeviceSlots::n_pixels)
        .def_property_readonly("one_to_one", &DeviceSlots::one_to_one)
        .def("apart", &DeviceSlots::apart, "The same features, each on a pixel of its own.");
    py::class_<DeviceRows>(module, "CsrRows", "Compressed sparse rows on a device, indices of each row increasing.")
        .def(py::init([](const std::string& op, const Array& values, const Array& indices, const Array& row_start,
                         std::int64_t n_features) {
                 return DeviceRows(op.c_str(), values, indices, row_start, n_features);
             }),
             py::arg("op"), py::arg("values"), py::arg("indices"), py::arg("row_start"), py::arg("n_features"));
    py::class_<FoldPlan>(module, "FoldPlan", "The fold of dense samples of one type by one layout and normaliser.")
        .def(py::init<const Array&, DeviceSlots, OptionalParameters, const Array&, OptionalArray>(), py::arg("x"),
             py::arg("slots"), py::arg("parameters"), py::arg("out"), py::arg("counts"),
             "x and out: any samples and images of their types on the device.")
        .def("__call__", &FoldPlan::operator(), py::arg("x"), py::arg("n_samples"), py::arg("sample_stride"),
             py::arg("feature_stride"), py::arg("out"), py::arg("stream"),
             "Queue the fold of samples at an address, their strides in elements, to images at an address; False, and "
             "nothing is queued, where they overlap. Nobody looks at the addresses.");
    module.def("fold_dense", &queue_fold_dense, py::arg("x"), py::arg("slots"), py::arg("parameters"),
               py::arg("row_scale"), py::arg("out"), py::arg("counts"), py::arg("stream"),
               py::arg("offsets") = py::none(),
               "Queue the fold of dense samples into out; adds to counts (missing, negative). offsets: int64, the "
               "bytes from x's first element to each sample, multiples of its sample stride.");
    module.def("fold_csr", &queue_fold_csr, py::arg("rows"), py::arg("slots"), py::arg("parameters"),
               py::arg("row_scale"), py::arg("out"), py::arg("background"), py::arg("counts"), py::arg("stream"),
               py::arg("samples") = py::none(),
               "Queue the fold of sparse rows into out; adds to counts (missing, negative, indices out of range). "
               "background: the image of an all-zero sample, None where it is 0. samples: int64, the rows to fold.");
}

}  // namespace pixfold::cuda::bindings
