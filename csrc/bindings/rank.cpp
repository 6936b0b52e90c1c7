#include "pixfold/rank.hpp"

#include <pybind11/numpy.h>

#include <algorithm>

#include "array.hpp"
#include "cpu/threads.hpp"

namespace pixfold::bindings {
namespace {

const double* importance_of(const char* op, const Array& importance) {
    const Arguments of(op);
    if (importance.ndim != 1) {
        of.refuse("importance", "one-dimensional", importance.described());
    }
    return of.vector<double>("importance", importance, importance.size());
}

Survey survey_of(const char* op, const double* values, std::int64_t n, int threads) {
    Survey found;
    {
        py::gil_scoped_release release;
        found = survey(values, n, threads);
    }
    if (found.first_nan >= 0) {
        refuse(op, "importance", "free of NaN", "NaN at position " + std::to_string(found.first_nan));
    }
    return found;
}

py::array_t<double> rank(const Array& importance, int threads) {
    const double* values = importance_of("rank", importance);
    const std::int64_t n = importance.size();
    const int used = threads_for(threads, importance.nbytes());
    const Survey found = survey_of("rank", values, n, used);
    py::array_t<double> ranks(n);
    double* out = ranks.mutable_data();
    py::gil_scoped_release release;
    average_ranks(values, n, found, out, used);
    return ranks;
}

py::array_t<std::int64_t> select(const Array& importance, std::int64_t k, int threads) {
    const double* values = importance_of("top_k", importance);
    const std::int64_t n = importance.size();
    if (k < 0) {
        refuse("top_k", "k", "0 or more", std::to_string(k));
    }
    const int used = threads_for(threads, importance.nbytes());
    const Survey found = survey_of("top_k", values, n, used);
    py::array_t<std::int64_t> positions(std::min(k, n));
    std::int64_t* out = positions.mutable_data();
    std::int64_t selected = 0;
    {
        py::gil_scoped_release release;
        selected = top_k(values, n, found, k, out, used);
    }
    positions.resize({selected});
    return positions;
}

}  // namespace

void register_rank(py::module_& module) {
    module.def("rank", &rank, py::arg("importance"), py::arg("threads"), "Average ranks, 1 for the largest.");
    module.def("top_k", &select, py::arg("importance"), py::arg("k"), py::arg("threads"),
               "Positions of the largest values, no tied group in part.");
}

}  // namespace pixfold::bindings
