// The normaliser's parameters as Python hands them over, to either module.
#pragma once

#include "array.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::bindings {

// offset (None for 0), shift, scale (both None for 0 and 1) and fill in slot order, of the compute type.
struct Parameters {
    bool log;
    bool clip_below_zero;
    OptionalArray offset;
    OptionalArray shift;
    OptionalArray scale;
    Array fill;
    double lo;
    double hi;
    bool shift_is_zero;  // whoever calls knows: every shift is 0
};

// None in Python; an optional, so that signatures and stubs say so.
using OptionalParameters = std::optional<const Parameters*>;

// Without `parameters`, values are moved and converted.
NormalizeParameters parameters_of(const Arguments& of, OptionalParameters parameters, const OptionalArray& row_scale,
                                  bool in_double, std::int64_t n_slots, std::int64_t n_samples);

void register_parameters(py::module_& module);

}  // namespace pixfold::bindings
