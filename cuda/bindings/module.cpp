#include <exception>

#include "bindings/array.hpp"
#include "launch.hpp"

namespace pixfold::cuda::bindings {

void register_build(pybind11::module_& module);
#define PIXFOLD_OP(name) void register_##name(pybind11::module_& module);
#include "ops.inc"
#undef PIXFOLD_OP

}  // namespace pixfold::cuda::bindings

namespace {

void as_backend_error(std::exception_ptr thrown) {
    namespace py = pybind11;
    try {
        std::rethrow_exception(thrown);
    } catch (const pixfold::cuda::Error& error) {
        py::set_error(py::module_::import("pixfold.errors").attr("BackendError"), error.what());
    }
}

}  // namespace

PYBIND11_MODULE(_cuda, module) {
    module.doc() = "pixfold's CUDA kernels. Use the functions of pixfold: they look after types, sizes and streams.";
    pixfold::bindings::translate_input_errors();
    pybind11::register_local_exception_translator(&as_backend_error);
    pixfold::cuda::bindings::register_build(module);
#define PIXFOLD_OP(name) pixfold::cuda::bindings::register_##name(module);
#include "ops.inc"
#undef PIXFOLD_OP
}
