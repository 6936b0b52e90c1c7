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

std::pair<std::int64_t, std::int64_t> fold_dense(const Array& x, const Slots& layout, OptionalParameters parameters,
                                                 const OptionalArray& row_scale, const Array& out, int threads) {
    const Arguments of(fold_op);
    const DenseView view = of.samples("X", x);
    check_features(view.n_features, layout);
    const SlotView slots = layout.view();
    const NormalizeParameters p =
        parameters_of(of, parameters, row_scale, computes_in_double(view.dtype), slots.n_slots, view.n_samples);
    const FoldOutput images = of.images("out", out, view.n_samples, slots.n_pixels);
    const int used = threads_for(threads, view.n_samples * slots.n_pixels * 4);
    py::gil_scoped_release release;
    const FoldCounts counts = cpu::fold_dense(view, slots, p, images, used);
    return {counts.missing, counts.negative};
}

std::pair<std::int64_t, std::int64_t> fold_csr(const CsrRows& rows, const Slots& layout, OptionalParameters parameters,
                                               const OptionalArray& row_scale, const Array& out, int threads) {
    const Arguments of(fold_op);
    const CsrView view = rows.view(fold_op);
    check_features(view.n_features, layout);
    const SlotView slots = layout.view();
    const NormalizeParameters p =
        parameters_of(of, parameters, row_scale, computes_in_double(view.dtype), slots.n_slots, view.n_samples);
    const FoldOutput images = of.images("out", out, view.n_samples, slots.n_pixels);
    const int used = threads_for(threads, view.n_samples * slots.n_pixels * 4);
    py::gil_scoped_release release;
    const FoldCounts counts = cpu::fold_csr(view, slots, layout.slot_of_feature(), p, images, used);
    return {counts.missing, counts.negative};
}

}  // namespace

void register_fold(py::module_& module) {
    register_parameters(module);
    py::class_<Slots>(module, "Slots", "A layout, checked once: features that have a pixel, sorted by pixel.")
        .def(py::init<const Array&, const Array&, std::int64_t, std::int64_t>(), py::arg("feature"), py::arg("pixel"),
             py::arg("n_features"), py::arg("n_pixels"));
    py::class_<CsrRows>(module, "CsrRows", "Compressed sparse rows, checked once.")
        .def(py::init([](const std::string& op, const Array& values, const Array& indices, const Array& row_start,
                         std::int64_t n_features, int threads) {
                 return std::make_unique<CsrRows>(op.c_str(), values, indices, row_start, n_features, threads);
             }),
             py::arg("op"), py::arg("values"), py::arg("indices"), py::arg("row_start"), py::arg("n_features"),
             py::arg("threads"))
        .def_property_readonly("canonical", &CsrRows::canonical, "Whether the indices of every row increase.");
    module.def("fold_dense", &fold_dense, py::arg("x"), py::arg("slots"), py::arg("parameters"), py::arg("row_scale"),
               py::arg("out"), py::arg("threads"), "Fold dense samples into out; returns (missing, negative).");
    module.def("fold_csr", &fold_csr, py::arg("rows"), py::arg("slots"), py::arg("parameters"), py::arg("row_scale"),
               py::arg("out"), py::arg("threads"),
               "Fold compressed sparse rows into out; returns (missing, negative).");
}

}  // namespace pixfold::bindings
