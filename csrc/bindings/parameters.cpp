#include "parameters.hpp"

namespace pixfold::bindings {
namespace {

const void* typed(const char* op, const char* name, const py::object& array, bool in_double, std::int64_t n) {
    const py::array values = py::cast<py::array>(array);
    return in_double ? static_cast<const void*>(vector_of<double>(op, name, values, n))
                     : vector_of<float>(op, name, values, n);
}

}  // namespace

NormalizeParameters parameters_of(const char* op, const PythonParameters* p, const py::object& row_scale,
                                  bool in_double, std::int64_t n_slots, std::int64_t n_samples) {
    NormalizeParameters parameters{};
    if (p == nullptr) {
        return parameters;
    }
    parameters.normalise = true;
    parameters.log = p->log;
    parameters.clip_below_zero = p->clip_below_zero;
    if (!p->offset.is_none()) {
        parameters.offset = typed(op, "offset", p->offset, in_double, n_slots);
    }
    if (!p->scale.is_none()) {
        parameters.shift = typed(op, "shift", p->shift, in_double, n_slots);
        parameters.scale = typed(op, "scale", p->scale, in_double, n_slots);
    }
    parameters.fill = typed(op, "fill", p->fill, in_double, n_slots);
    parameters.lo = p->lo;
    parameters.hi = p->hi;
    if (!row_scale.is_none()) {
        parameters.row_scale = vector_of<double>(op, "row_scale", py::cast<py::array>(row_scale), n_samples);
    }
    return parameters;
}

}  // namespace pixfold::bindings
