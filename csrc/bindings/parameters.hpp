// The normaliser's parameters as Python hands them over.
#pragma once

#include "arrays.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::bindings {

// offset (None for 0), shift, scale (both None for 0 and 1) and fill in slot order, of the compute type.
struct PythonParameters {
    bool log;
    bool clip_below_zero;
    py::object offset;
    py::object shift;
    py::object scale;
    py::object fill;
    double lo;
    double hi;
};

NormalizeParameters parameters_of(const char* op, const PythonParameters* parameters, const py::object& row_scale,
                                  bool in_double, std::int64_t n_slots, std::int64_t n_samples);

}  // namespace pixfold::bindings
