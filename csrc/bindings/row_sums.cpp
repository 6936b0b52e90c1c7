#include "pixfold/row_sums.hpp"

#include <pybind11/numpy.h>

#include "cpu/threads.hpp"
#include "csr_rows.hpp"

namespace pixfold::bindings {
namespace {

constexpr const char* row_sums_op = "row_sums";

py::array_t<double> row_sums_dense(const Array& x, int threads) {
    const DenseView view = Arguments(row_sums_op).samples("X", x);
    py::array_t<double> sums(view.n_samples);
    double* out = sums.mutable_data();
    const int used = threads_for(threads, view.n_samples * view.n_features * 4);
    py::gil_scoped_release release;
    cpu::row_sums_dense(view, out, used);
    return sums;
}

py::array_t<double> row_sums_csr(const CsrRows& rows, int threads) {
    const CsrView view = rows.view(row_sums_op);
    py::array_t<double> sums(view.n_samples);
    double* out = sums.mutable_data();
    const int used = threads_for(threads, rows.nnz() * 4);
    py::gil_scoped_release release;
    cpu::row_sums_csr(view, out, used);
    return sums;
}

}  // namespace

void register_row_sums(py::module_& module) {
    module.def("row_sums_dense", &row_sums_dense, py::arg("x"), py::arg("threads"),
               "Sum of each sample, NaN left out.");
    module.def("row_sums_csr", &row_sums_csr, py::arg("rows"), py::arg("threads"),
               "Sum of each compressed sparse row, NaN left out.");
}

}  // namespace pixfold::bindings
