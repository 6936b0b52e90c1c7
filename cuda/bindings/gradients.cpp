#include "parameters.hpp"
#include "pixfold/fold_gradient.hpp"
#include "pixfold/unfold_gradient.hpp"

namespace pixfold::cuda::bindings {
namespace {

void queue_fold_gradient(const DenseView& x, const Slots& layout, Address slot_of_feature, Address pixel_of_feature,
                         const NormalizeParameters* parameters, Address row_scale, double library_size,
                         Address gradient, const std::string& dtype, Address out, Address workspace, int device,
                         Address stream) {
    const FoldGradientArguments arguments{x,
                                          layout,
                                          at<std::int32_t>(slot_of_feature),
                                          at<std::int32_t>(pixel_of_feature),
                                          with_row_scale(parameters, row_scale),
                                          library_size,
                                          {at<void>(gradient), dtype_of(dtype)},
                                          at<void>(out),
                                          at<double>(workspace)};
    queue("fold_gradient", {device, stream}, [&](void* on) { fold_gradient(arguments, on); });
}

void queue_unfold_gradient(Address gradient, const std::string& dtype, std::int64_t n_samples, std::int64_t n_features,
                           const Slots& layout, Address out, int device, Address stream) {
    const FeatureGradient features{at<void>(gradient), dtype_of(dtype), n_samples, n_features};
    queue("unfold_gradient", {device, stream}, [&](void* on) { unfold_gradient(features, layout, at<void>(out), on); });
}

}  // namespace

void register_gradients(py::module_& module) {
    module.def("fold_gradient_workspace", &fold_gradient_workspace, py::arg("n_samples"), py::arg("n_slots"),
               "Doubles of scratch memory for samples with a row scale.");
    module.def("fold_gradient", &queue_fold_gradient, py::arg("x"), py::arg("slots"), py::arg("slot_of_feature"),
               py::arg("pixel_of_feature"), py::arg("parameters").none(true), py::arg("row_scale"),
               py::arg("library_size"), py::arg("gradient"), py::arg("dtype"), py::arg("out"), py::arg("workspace"),
               py::arg("device"), py::arg("stream"),
               "Queue the gradient with respect to samples from that with respect to their images, of `dtype`.");
    module.def("unfold_gradient", &queue_unfold_gradient, py::arg("gradient"), py::arg("dtype"), py::arg("n_samples"),
               py::arg("n_features"), py::arg("slots"), py::arg("out"), py::arg("device"), py::arg("stream"),
               "Queue the gradient with respect to images from that with respect to what unfold made of them.");
}

}  // namespace pixfold::cuda::bindings
