#include "bindings/parameters.hpp"
#include "call.hpp"
#include "device_slots.hpp"
#include "pixfold/fold_gradient.hpp"
#include "pixfold/unfold_gradient.hpp"

namespace pixfold::cuda::bindings {
namespace {

using pixfold::bindings::OptionalParameters;

// What both ways of fold_gradient take; memory to work in is added where it is needed.
FoldGradientArguments checked(const Arguments& of, const Array& x, const DeviceSlots& slots,
                              OptionalParameters parameters, const OptionalArray& row_scale, double library_size,
                              const Array& gradient, const Array& out) {
    const DenseView view = of.samples("X", x);
    if (!pixfold::bindings::is_float(view.dtype)) {
        of.refuse("X", "floats", x.described());
    }
    const Slots& layout = slots.view(of, "X", view.n_features);
    const NormalizeParameters p =
        parameters_of(of, parameters, row_scale, computes_in_double(view.dtype), layout.n_slots, view.n_samples);
    const ImageGradient images = of.image_gradient("gradient", gradient, view.n_samples, layout.n_pixels);
    void* to = of.output("out", out, view.dtype, product(view.n_samples, view.n_features));
    return {view, layout, slots.slot_of_feature(), slots.pixel_of_feature(), p, library_size, images, to, nullptr};
}

void queue_fold_gradient(const Array& x, const DeviceSlots& slots, OptionalParameters parameters,
                         const OptionalArray& row_scale, double library_size, const Array& gradient, const Array& out,
                         Stream stream) {
    const Arguments of = arguments("fold_gradient", "X", x);
    FoldGradientArguments folded = checked(of, x, slots, parameters, row_scale, library_size, gradient, out);
    const bool sums = folded.parameters.row_scale != nullptr;
    const std::int64_t doubles = sums ? fold_gradient_workspace(folded.x.n_samples, folded.slots.n_slots) : 0;
    const Scratch workspace(x, doubles * size_of(DType::f64));
    folded.workspace = workspace.as<double>();
    const Scratch scratch(x, ask(of, [&] { return fold_gradient_scratch(folded); }));
    folded.scratch = scratch.workspace();
    queue(of, stream, [&](void* on) { fold_gradient(folded, on); });
}

bool queue_fold_gradient_library(const Array& x, const DeviceSlots& slots, OptionalParameters parameters,
                                 double library_size, const Array& gradient, const Array& out, Stream stream) {
    const Arguments of = arguments("fold_gradient", "X", x);
    const FoldGradientArguments folded = checked(of, x, slots, parameters, std::nullopt, library_size, gradient, out);
    bool queued = false;
    queue(of, stream, [&](void* on) { queued = fold_gradient_library(folded, on); });
    return queued;
}

void queue_unfold_gradient(const Array& gradient, const DeviceSlots& slots, const Array& out, Stream stream) {
    const Arguments of = arguments("unfold_gradient", "gradient", gradient);
    const FeatureGradient features = of.feature_gradient("gradient", gradient, slots.n_features());
    const Slots& layout = slots.view(of, "gradient", slots.n_features());
    void* to = of.output("out", out, features.dtype, product(features.n_samples, layout.n_pixels));
    const Scratch scratch(gradient, ask(of, [&] { return unfold_gradient_workspace(features, layout, to); }));
    queue(of, stream, [&](void* on) { unfold_gradient(features, layout, to, on, scratch.workspace()); });
}

}  // namespace

void register_gradients(py::module_& module) {
    module.def("fold_gradient", &queue_fold_gradient, py::arg("x"), py::arg("slots"), py::arg("parameters"),
               py::arg("row_scale"), py::arg("library_size"), py::arg("gradient"), py::arg("out"), py::arg("stream"),
               "Queue the gradient with respect to samples from that with respect to their images, into out.");
    module.def("fold_gradient_library", &queue_fold_gradient_library, py::arg("x"), py::arg("slots"),
               py::arg("parameters"), py::arg("library_size"), py::arg("gradient"), py::arg("out"), py::arg("stream"),
               "fold_gradient with a row scale of library_size over each sample's sum, from one reading; False, and "
               "nothing queued, where that is not to be had.");
    module.def(
        "unfold_gradient", &queue_unfold_gradient, py::arg("gradient"), py::arg("slots"), py::arg("out"),
        py::arg("stream"),
        "Queue the gradient with respect to images from that with respect to what unfold made of them, into out.");
}

}  // namespace pixfold::cuda::bindings
