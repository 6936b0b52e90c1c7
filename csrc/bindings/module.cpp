#include "array.hpp"
#include "cpu/threads.hpp"

namespace pixfold::bindings {

void register_build(py::module_& module);
#define PIXFOLD_OP(name) void register_##name(py::module_& module);
#include "ops.inc"
#undef PIXFOLD_OP

}  // namespace pixfold::bindings

PYBIND11_MODULE(_core, module) {
    module.doc() = "pixfold's CPU kernels. Use the functions of pixfold: they choose the backend and explain errors.";
    pixfold::watch_forks();
    pixfold::bindings::translate_input_errors();
    pixfold::bindings::register_build(module);
#define PIXFOLD_OP(name) pixfold::bindings::register_##name(module);
#include "ops.inc"
#undef PIXFOLD_OP
}
