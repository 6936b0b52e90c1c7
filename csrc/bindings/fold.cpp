#include "pixfold/fold.hpp"

#include <memory>
#include <string>
#include <utility>

#include "cpu/threads.hpp"
#include "csr_rows.hpp"
#include "parameters.hpp"
#include "slots.hpp"

namespace pixfold::bindings {
namespace {

constexpr const char* fold_op = "fold";

void check_features(std::int64_t n_features, const Slots& layout) {
    if (n_features != layout.n_features()) {
        refuse(fold_op, "X", "of the layout's " + std::to_string(layout.n_features()) + " features",
               std::to_string(n_features));
    }
}

FoldOutput images_of(py::array& out, bool bfloat16, std::int64_t n_samples, std::int64_t n_pixels) {
    const DType dtype = dtype_of(fold_op, "out", out, bfloat16);
    const std::int64_t size = product(n_samples, n_pixels);
    switch (dtype) {
        case DType::f32:
            return {output_of<float>(fold_op, "out", out, size), dtype};
        case DType::f16:
        case DType::bf16:
            if (out.size() != size || (out.flags() & py::array::c_style) == 0 || !out.writeable() ||
                !is_aligned(out, 2)) {
                refuse(fold_op, "out", "C-contiguous, aligned and writeable with " + std::to_string(size) + " elements",
                       describe(out));
            }
            return {out.mutable_data(), dtype};
        default:
            refuse(fold_op, "out", "float32, float16 or bfloat16", describe(out));
    }
}

std::pair<std::int64_t, std::int64_t> fold_dense(const py::array& x, bool x_bfloat16, const Slots& layout,
                                                 const PythonParameters* parameters, const py::object& row_scale,
                                                 py::array out, bool out_bfloat16, int threads) {
    const DenseView view = dense_view(fold_op, x, x_bfloat16);
    check_features(view.n_features, layout);
    const SlotView slots = layout.view();
    const NormalizeParameters p =
        parameters_of(fold_op, parameters, row_scale, computes_in_double(view.dtype), slots.n_slots, view.n_samples);
    const FoldOutput images = images_of(out, out_bfloat16, view.n_samples, slots.n_pixels);
    const int used = threads_for(threads, view.n_samples * slots.n_pixels * 4);
    py::gil_scoped_release release;
    const FoldCounts counts = cpu::fold_dense(view, slots, p, images, used);
    return {counts.missing, counts.negative};
}

std::pair<std::int64_t, std::int64_t> fold_csr(const CsrRows& rows, const Slots& layout,
                                               const PythonParameters* parameters, const py::object& row_scale,
                                               py::array out, bool out_bfloat16, int threads) {
    const CsrView view = rows.view(fold_op);
    check_features(view.n_features, layout);
    const SlotView slots = layout.view();
    const NormalizeParameters p =
        parameters_of(fold_op, parameters, row_scale, computes_in_double(view.dtype), slots.n_slots, view.n_samples);
    const FoldOutput images = images_of(out, out_bfloat16, view.n_samples, slots.n_pixels);
    const int used = threads_for(threads, view.n_samples * slots.n_pixels * 4);
    py::gil_scoped_release release;
    const FoldCounts counts = cpu::fold_csr(view, slots, layout.slot_of_feature(), p, images, used);
    return {counts.missing, counts.negative};
}

}  // namespace

void register_fold(py::module_& module) {
    py::class_<PythonParameters>(module, "Parameters", "A normaliser's formula with its arrays in slot order.")
        .def(py::init<bool, bool, py::object, py::object, py::object, py::object, double, double>(), py::arg("log"),
             py::arg("clip_below_zero"), py::arg("offset"), py::arg("shift"), py::arg("scale"), py::arg("fill"),
             py::arg("lo"), py::arg("hi"));
    module.def(
        "computes_in_double",
        [](const py::array& x, bool bfloat16) { return computes_in_double(dtype_of(fold_op, "X", x, bfloat16)); },
        py::arg("x"), py::arg("bfloat16"), "Whether the kernels compute in double for this element type.");
    py::class_<Slots>(module, "Slots", "A layout, checked once: features that have a pixel, sorted by pixel.")
        .def(py::init<const py::array&, const py::array&, std::int64_t, std::int64_t>(), py::arg("feature"),
             py::arg("pixel"), py::arg("n_features"), py::arg("n_pixels"));
    py::class_<CsrRows>(module, "CsrRows", "Compressed sparse rows, checked once.")
        .def(py::init([](const std::string& name, const py::array& values, bool bfloat16, const py::array& indices,
                         const py::array& row_start, std::int64_t n_features, int threads) {
                 return std::make_unique<CsrRows>(name.c_str(), values, bfloat16, indices, row_start, n_features,
                                                  threads);
             }),
             py::arg("op"), py::arg("values"), py::arg("bfloat16"), py::arg("indices"), py::arg("row_start"),
             py::arg("n_features"), py::arg("threads"))
        .def_property_readonly("canonical", &CsrRows::canonical, "Whether the indices of every row increase.");
    module.def("fold_dense", &fold_dense, py::arg("x"), py::arg("x_bfloat16"), py::arg("slots"),
               py::arg("parameters").none(true), py::arg("row_scale"), py::arg("out"), py::arg("out_bfloat16"),
               py::arg("threads"), "Fold dense samples into out; returns (missing, negative).");
    module.def("fold_csr", &fold_csr, py::arg("rows"), py::arg("slots"), py::arg("parameters").none(true),
               py::arg("row_scale"), py::arg("out"), py::arg("out_bfloat16"), py::arg("threads"),
               "Fold compressed sparse rows into out; returns (missing, negative).");
}

}  // namespace pixfold::bindings
