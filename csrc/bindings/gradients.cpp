#include <string>

#include "arrays.hpp"
#include "cpu/threads.hpp"
#include "parameters.hpp"
#include "pixfold/fold_gradient.hpp"
#include "pixfold/unfold_gradient.hpp"
#include "slots.hpp"

namespace pixfold::bindings {
namespace {

// (n_rows, n_columns), C-contiguous and aligned.
void check_matrix(const char* op, const char* argument, const py::array& array, std::int64_t n_rows,
                  std::int64_t n_columns) {
    if (array.ndim() != 2 || array.shape(0) != n_rows || array.shape(1) != n_columns ||
        (array.flags() & py::array::c_style) == 0 || !is_aligned(array, static_cast<std::size_t>(array.itemsize()))) {
        refuse(op, argument,
               "C-contiguous and aligned, of shape (" + std::to_string(n_rows) + ", " + std::to_string(n_columns) + ")",
               describe(array));
    }
}

void* gradient_output(const char* op, py::array& out, const py::array& like, std::int64_t n_rows,
                      std::int64_t n_columns) {
    if (!out.dtype().equal(like.dtype()) || !out.writeable()) {
        refuse(op, "out", "writeable and " + std::string(py::str(like.dtype())), describe(out));
    }
    check_matrix(op, "out", out, n_rows, n_columns);
    return out.mutable_data();
}

bool is_float(DType dtype) {
    return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::f16 || dtype == DType::bf16;
}

void fold_gradient(const py::array& x, bool x_bfloat16, const Slots& layout, const PythonParameters* parameters,
                   const py::object& row_scale, double library_size, const py::array& gradient, bool gradient_bfloat16,
                   py::array out, int threads) {
    constexpr const char* op = "fold_gradient";
    const DenseView view = dense_view(op, x, x_bfloat16);
    const SlotView slots = layout.view();
    if (!is_float(view.dtype) || view.n_features != layout.n_features()) {
        refuse(op, "X", "floats of the layout's " + std::to_string(layout.n_features()) + " features", describe(x));
    }
    const NormalizeParameters p =
        parameters_of(op, parameters, row_scale, computes_in_double(view.dtype), slots.n_slots, view.n_samples);
    const DType dtype = dtype_of(op, "gradient", gradient, gradient_bfloat16);
    check_matrix(op, "gradient", gradient, view.n_samples, slots.n_pixels);
    if (!is_float(dtype) || dtype == DType::f64) {
        refuse(op, "gradient", "float32, float16 or bfloat16", describe(gradient));
    }
    void* to = gradient_output(op, out, x, view.n_samples, view.n_features);
    const ImageGradient images{gradient.data(), dtype};
    const int used = threads_for(threads, view.n_samples * slots.n_pixels * 4);
    py::gil_scoped_release release;
    cpu::fold_gradient(view, slots, p, library_size, images, to, used);
}

void unfold_gradient(const py::array& gradient, bool bfloat16, const Slots& layout, py::array out, int threads) {
    constexpr const char* op = "unfold_gradient";
    const DType dtype = dtype_of(op, "gradient", gradient, bfloat16);
    const SlotView slots = layout.view();
    const std::int64_t n_samples = gradient.ndim() == 2 ? gradient.shape(0) : 0;
    check_matrix(op, "gradient", gradient, n_samples, layout.n_features());
    if (!is_float(dtype)) {
        refuse(op, "gradient", "floats", describe(gradient));
    }
    void* to = gradient_output(op, out, gradient, n_samples, slots.n_pixels);
    const FeatureGradient features{gradient.data(), dtype, n_samples, layout.n_features()};
    const int used = threads_for(threads, n_samples * slots.n_pixels * gradient.itemsize());
    py::gil_scoped_release release;
    cpu::unfold_gradient(features, slots, to, used);
}

}  // namespace

void register_gradients(py::module_& module) {
    module.def("fold_gradient", &fold_gradient, py::arg("x"), py::arg("x_bfloat16"), py::arg("slots"),
               py::arg("parameters").none(true), py::arg("row_scale"), py::arg("library_size"), py::arg("gradient"),
               py::arg("gradient_bfloat16"), py::arg("out"), py::arg("threads"),
               "Gradient with respect to samples from that with respect to their images, into out.");
    module.def("unfold_gradient", &unfold_gradient, py::arg("gradient"), py::arg("bfloat16"), py::arg("slots"),
               py::arg("out"), py::arg("threads"),
               "Gradient with respect to images from that with respect to what unfold made of them, into out.");
}

}  // namespace pixfold::bindings
