#include "parameters.hpp"

namespace pixfold::bindings {

NormalizeParameters parameters_of(const Arguments& of, OptionalParameters given, const OptionalArray& row_scale,
                                  bool in_double, std::int64_t n_slots, std::int64_t n_samples) {
    NormalizeParameters parameters{};
    if (!given) {
        return parameters;
    }
    const Parameters* p = *given;
    const auto values = [&](const char* name, const OptionalArray& array) {
        return array ? of.elements(name, *array, in_double ? DType::f64 : DType::f32, n_slots) : nullptr;
    };
    parameters.normalise = true;
    parameters.log = p->log;
    parameters.clip_below_zero = p->clip_below_zero;
    parameters.offset = values("offset", p->offset);
    if (p->scale) {
        if (!p->shift) {
            of.refuse("shift", "an array where scale is one", "None");
        }
        parameters.shift = values("shift", p->shift);
        parameters.scale = values("scale", p->scale);
    }
    parameters.fill = values("fill", p->fill);
    parameters.lo = p->lo;
    parameters.hi = p->hi;
    parameters.shift_is_zero = p->shift_is_zero;
    parameters.row_scale = of.vector<double>("row_scale", row_scale, n_samples);
    return parameters;
}

void register_parameters(py::module_& module) {
    py::class_<Parameters>(module, "Parameters", "A normaliser's formula with its arrays in slot order.",
                           py::module_local())
        .def(py::init([](bool log, bool clip_below_zero, OptionalArray offset, OptionalArray shift, OptionalArray scale,
                         Array fill, double lo, double hi, bool shift_is_zero) {
                 return Parameters{
                     log, clip_below_zero, std::move(offset), std::move(shift), std::move(scale), std::move(fill), lo,
                     hi,  shift_is_zero};
             }),
             py::arg("log"), py::arg("clip_below_zero"), py::arg("offset"), py::arg("shift"), py::arg("scale"),
             py::arg("fill"), py::arg("lo"), py::arg("hi"), py::arg("shift_is_zero") = false);
}

}  // namespace pixfold::bindings
