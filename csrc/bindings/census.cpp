#include "pixfold/census.hpp"

#include "cpu/threads.hpp"
#include "csr_rows.hpp"

namespace pixfold::bindings {
namespace {

constexpr const char* census_op = "census";

// Missing, infinite and negative values.
using Counts = std::tuple<std::int64_t, std::int64_t, std::int64_t>;

Counts census_dense(const Array& x, int threads) {
    const DenseView view = Arguments(census_op).samples("X", x);
    const int used = threads_for(threads, x.nbytes());
    CensusCounts counts;
    {
        py::gil_scoped_release release;
        counts = cpu::census_dense(view, used);
    }
    return {counts.missing, counts.infinite, counts.negative};
}

Counts census_csr(const CsrRows& rows, int threads) {
    const CsrView view = rows.view(census_op);
    const int used = threads_for(threads, rows.nnz() * 4);
    CensusCounts counts;
    {
        py::gil_scoped_release release;
        counts = cpu::census_csr(view, used);
    }
    return {counts.missing, counts.infinite, counts.negative};
}

}  // namespace

void register_census(py::module_& module) {
    module.def("census_dense", &census_dense, py::arg("x"), py::arg("threads"),
               "(missing, infinite, negative) of all values of dense samples.");
    module.def("census_csr", &census_csr, py::arg("rows"), py::arg("threads"),
               "The same of the values of compressed sparse rows.");
}

}  // namespace pixfold::bindings
