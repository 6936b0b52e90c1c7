#include <cmath>

#include "arrays.hpp"
#include "pixfold/rank.hpp"
#include "register.hpp"

namespace pixfold::bindings {
namespace {

const double* importance_of(const char* op, const py::array& importance) {
    const double* values = vector_of<double>(op, "importance", importance, importance.size());
    if (importance.ndim() != 1) {
        refuse(op, "importance", "one-dimensional", describe(importance));
    }
    for (std::int64_t j = 0; j < importance.size(); ++j) {
        if (std::isnan(values[j])) {
            refuse(op, "importance", "free of NaN", "NaN at position " + std::to_string(j));
        }
    }
    return values;
}

py::array_t<std::int64_t> sorted(const char* op, const py::array& importance) {
    const double* values = importance_of(op, importance);
    py::array_t<std::int64_t> order(importance.size());
    std::int64_t* out = order.mutable_data();
    py::gil_scoped_release release;
    sort_descending(values, importance.size(), out);
    return order;
}

py::array_t<double> rank(const py::array& importance) {
    const py::array_t<std::int64_t> order = sorted("rank", importance);
    const double* values = static_cast<const double*>(importance.data());
    py::array_t<double> ranks(importance.size());
    double* out = ranks.mutable_data();
    const std::int64_t* positions = order.data();
    py::gil_scoped_release release;
    average_ranks(values, positions, importance.size(), out);
    return ranks;
}

}  // namespace

void register_rank(py::module_& module) {
    module.def(
        "sort_descending", [](const py::array& importance) { return sorted("top_k", importance); },
        py::arg("importance"), "Positions by decreasing value, ties by position.");
    module.def("rank", &rank, py::arg("importance"), "Average ranks, 1 for the largest.");
}

}  // namespace pixfold::bindings
