#include "pixfold/column_stats.hpp"

#include "cpu/threads.hpp"
#include "csr_rows.hpp"
#include "statistics.hpp"

namespace pixfold::bindings {
namespace {

constexpr const char* column_stats_op = "column_stats";

Statistics stats_dense(const Array& x, bool log, bool clip_below_zero, const OptionalArray& offset,
                       const OptionalArray& row_scale, int threads) {
    const Arguments of(column_stats_op);
    const DenseView view = of.samples("X", x);
    const StatsArguments arguments{log, clip_below_zero, of.vector<double>("offset", offset, view.n_features),
                                   of.vector<double>("row_scale", row_scale, view.n_samples)};
    const int used = threads_for(threads, view.n_samples * view.n_features * 4);
    return stats_of(view.n_features,
                    [&](const StatsOutput& out) { return cpu::column_stats_dense(view, arguments, out, used); });
}

Statistics stats_csr(const CsrRows& rows, bool log, bool clip_below_zero, const OptionalArray& offset,
                     const OptionalArray& row_scale, int threads) {
    const Arguments of(column_stats_op);
    const CsrView view = rows.view(column_stats_op);
    const StatsArguments arguments{log, clip_below_zero, of.vector<double>("offset", offset, view.n_features),
                                   of.vector<double>("row_scale", row_scale, view.n_samples)};
    const int used = threads_for(threads, rows.nnz() * 8);
    return stats_of(view.n_features,
                    [&](const StatsOutput& out) { return cpu::column_stats_csr(view, arguments, out, used); });
}

}  // namespace

void register_column_stats(py::module_& module) {
    module.def("column_stats_dense", &stats_dense, py::arg("x"), py::arg("log"), py::arg("clip_below_zero"),
               py::arg("offset"), py::arg("row_scale"), py::arg("threads"),
               "(count, missing, zeros, min, max, mean, m2, n_negative, n_infinite) of dense samples.");
    module.def("column_stats_csr", &stats_csr, py::arg("rows"), py::arg("log"), py::arg("clip_below_zero"),
               py::arg("offset"), py::arg("row_scale"), py::arg("threads"), "The same of compressed sparse rows.");
}

}  // namespace pixfold::bindings
