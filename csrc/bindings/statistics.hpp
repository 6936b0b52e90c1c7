// Statistics of columns as Python gets them.
#pragma once

#include <pybind11/numpy.h>

#include <tuple>
#include <utility>

#include "array.hpp"
#include "pixfold/column_stats.hpp"

namespace pixfold::bindings {

using Wholes = py::array_t<std::int64_t>;
using Numbers = py::array_t<double>;
using Statistics = std::tuple<Wholes, Wholes, Wholes, Numbers, Numbers, Numbers, Numbers, std::int64_t, std::int64_t>;

// Allocates the output, runs the kernel without the GIL and returns
// (count, missing, zeros, min, max, mean, m2, n_negative, n_infinite).
template <class Run>
Statistics stats_of(std::int64_t n_features, Run&& run) {
    Wholes count(n_features), missing(n_features), zeros(n_features);
    Numbers min(n_features), max(n_features), mean(n_features), m2(n_features);
    const StatsOutput out{count.mutable_data(), missing.mutable_data(), zeros.mutable_data(), min.mutable_data(),
                          max.mutable_data(),   mean.mutable_data(),    m2.mutable_data()};
    StatsCounts counts;
    {
        py::gil_scoped_release release;
        counts = run(out);
    }
    return {count, missing, zeros, min, max, mean, m2, counts.negative, counts.infinite};
}

}  // namespace pixfold::bindings
