#include "pixfold/row_sums.hpp"

#include "call.hpp"

namespace pixfold::cuda::bindings {
namespace {

constexpr const char* row_sums_op = "row_sums";

void sums_of_dense(const DenseView& x, Address out, Address workspace, int device, Address stream) {
    queue(row_sums_op, {device, stream},
          [&](void* on) { row_sums_dense(x, at<double>(out), at<void>(workspace), on); });
}

void sums_of_csr(const CsrView& x, Address out, int device, Address stream) {
    queue(row_sums_op, {device, stream}, [&](void* on) { row_sums_csr(x, at<double>(out), on); });
}

}  // namespace

void register_row_sums(py::module_& module) {
    module.def("row_sums_dense_workspace", &row_sums_dense_workspace, py::arg("x"),
               "Bytes of scratch memory for these samples.");
    module.def("row_sums_dense", &sums_of_dense, py::arg("x"), py::arg("out"), py::arg("workspace"), py::arg("device"),
               py::arg("stream"), "Queue the sum of each dense sample, NaN left out, into out.");
    module.def("row_sums_csr", &sums_of_csr, py::arg("x"), py::arg("out"), py::arg("device"), py::arg("stream"),
               "The same of sparse rows.");
}

}  // namespace pixfold::cuda::bindings
