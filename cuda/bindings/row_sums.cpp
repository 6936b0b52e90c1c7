#include "pixfold/row_sums.hpp"

#include "call.hpp"
#include "device_rows.hpp"

namespace pixfold::cuda::bindings {
namespace {

void queue_row_sums_dense(const Array& x, const Array& out, Stream stream) {
    const Arguments of = arguments("row_sums", "X", x);
    const DenseView view = of.samples("X", x);
    auto* sums = of.output<double>("out", out, view.n_samples);
    const Scratch workspace(x, row_sums_dense_workspace(view));
    queue(of, stream, [&](void* on) { row_sums_dense(view, sums, workspace.as(), on); });
}

void queue_row_sums_csr(const DeviceRows& rows, const Array& out, Stream stream) {
    const Arguments of = arguments("row_sums", "X", rows.values());
    auto* sums = of.output<double>("out", out, rows.view().n_samples);
    queue(of, stream, [&](void* on) { row_sums_csr(rows.view(), sums, on); });
}

}  // namespace

void register_row_sums(py::module_& module) {
    module.def("row_sums_dense", &queue_row_sums_dense, py::arg("x"), py::arg("out"), py::arg("stream"),
               "Queue the sum of each dense sample, NaN left out, into out.");
    module.def("row_sums_csr", &queue_row_sums_csr, py::arg("rows"), py::arg("out"), py::arg("stream"),
               "The same of sparse rows.");
}

}  // namespace pixfold::cuda::bindings
