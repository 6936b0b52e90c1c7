#include "array.hpp"
#include "cpu/threads.hpp"
#include "parameters.hpp"
#include "pixfold/fold_gradient.hpp"
#include "pixfold/unfold_gradient.hpp"
#include "slots.hpp"

namespace pixfold::bindings {
namespace {

void fold_gradient(const Array& x, const Slots& layout, OptionalParameters parameters, const OptionalArray& row_scale,
                   double library_size, const Array& gradient, const Array& out, int threads) {
    const Arguments of("fold_gradient");
    const DenseView view = of.samples("X", x);
    const SlotView slots = layout.view();
    if (!is_float(view.dtype) || view.n_features != layout.n_features()) {
        of.refuse("X", "floats of the layout's " + std::to_string(layout.n_features()) + " features", x.described());
    }
    const NormalizeParameters p =
        parameters_of(of, parameters, row_scale, computes_in_double(view.dtype), slots.n_slots, view.n_samples);
    const ImageGradient images = of.image_gradient("gradient", gradient, view.n_samples, slots.n_pixels);
    void* to = of.output("out", out, view.dtype, product(view.n_samples, view.n_features));
    const int used = threads_for(threads, view.n_samples * slots.n_pixels * 4);
    py::gil_scoped_release release;
    cpu::fold_gradient(view, slots, p, library_size, images, to, used);
}

void unfold_gradient(const Array& gradient, const Slots& layout, const Array& out, int threads) {
    const Arguments of("unfold_gradient");
    const FeatureGradient features = of.feature_gradient("gradient", gradient, layout.n_features());
    const SlotView slots = layout.view();
    void* to = of.output("out", out, features.dtype, product(features.n_samples, slots.n_pixels));
    const int used = threads_for(threads, out.nbytes());
    py::gil_scoped_release release;
    cpu::unfold_gradient(features, slots, to, used);
}

}  // namespace

void register_gradients(py::module_& module) {
    module.def("fold_gradient", &fold_gradient, py::arg("x"), py::arg("slots"), py::arg("parameters"),
               py::arg("row_scale"), py::arg("library_size"), py::arg("gradient"), py::arg("out"), py::arg("threads"),
               "Gradient with respect to samples from that with respect to their images, into out.");
    module.def("unfold_gradient", &unfold_gradient, py::arg("gradient"), py::arg("slots"), py::arg("out"),
               py::arg("threads"),
               "Gradient with respect to images from that with respect to what unfold made of them, into out.");
}

}  // namespace pixfold::bindings
