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
    const Scratch scratch(x, ask(of, [&] { return fold_dense_workspace(view, layout, p, images, sample_offset); }));
    const FoldAid aid{slots.slot_of_feature(), scratch.workspace()};
    queue(of, stream, [&](void* on) { fold_dense(view, layout, p, images, met, on, sample_offset, aid); });
}

bool queue_fold_dense_library(const Array& x, const DeviceSlots& slots, OptionalParameters parameters,
                              double library_size, const Array& out, const OptionalArray& counts, Stream stream) {
    const Arguments of = arguments("fold", "X", x);
    const DenseView view = of.samples("X", x);
    const Slots& layout = slots.view(of, "X", view.n_features);
    const NormalizeParameters p =
        parameters_of(of, parameters, std::nullopt, computes_in_double(view.dtype), layout.n_slots, view.n_samples);
    const FoldOutput images = of.images("out", out, view.n_samples, layout.n_pixels);
    unsigned long long* met = fold_counts(of, counts);
    bool queued = false;
    queue(of, stream, [&](void* on) {
        queued = view.n_samples > 0 && fold_dense_library(view, layout, p, library_size, images, met, on);
    });
    return queued;
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
             "nothing is queued, where they overlap or it wants scratch memory. Nobody looks at the addresses.");
    module.def("fold_dense", &queue_fold_dense, py::arg("x"), py::arg("slots"), py::arg("parameters"),
               py::arg("row_scale"), py::arg("out"), py::arg("counts"), py::arg("stream"),
               py::arg("offsets") = py::none(),
               "Queue the fold of dense samples into out; adds to counts (missing, negative). offsets: int64, the "
               "bytes from x's first element to each sample, multiples of its sample stride.");
    module.def("fold_dense_library", &queue_fold_dense_library, py::arg("x"), py::arg("slots"), py::arg("parameters"),
               py::arg("library_size"), py::arg("out"), py::arg("counts"), py::arg("stream"),
               "fold_dense with a row scale of library_size over each sample's sum, from one reading of the samples; "
               "False, and nothing is queued, where that is not the faster way.");
    module.def("fold_csr", &queue_fold_csr, py::arg("rows"), py::arg("slots"), py::arg("parameters"),
               py::arg("row_scale"), py::arg("out"), py::arg("background"), py::arg("counts"), py::arg("stream"),
               py::arg("samples") = py::none(),
               "Queue the fold of sparse rows into out; adds to counts (missing, negative, indices out of range). "
               "background: the image of an all-zero sample, None where it is 0. samples: int64, the rows to fold.");
}

}  // namespace pixfold::cuda::bindings
