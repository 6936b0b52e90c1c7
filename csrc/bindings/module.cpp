#include <pybind11/pybind11.h>

#include <exception>
#include <stdexcept>

#include "cpu/threads.hpp"

namespace pixfold::bindings {

void register_build(pybind11::module_& module);
#define PIXFOLD_OP(name) void register_##name(pybind11::module_& module);
#include "ops.inc"
#undef PIXFOLD_OP

}  // namespace pixfold::bindings

namespace {

// What the bindings refuse is pixfold's own InputError, which is a ValueError.
void as_input_error(std::exception_ptr thrown) {
    namespace py = pybind11;
    const auto raise = [](const std::exception& error) {
        py::set_error(py::module_::import("pixfold.errors").attr("InputError"), error.what());
    };
    try {
        std::rethrow_exception(thrown);
    } catch (const py::value_error& error) {
        raise(error);
    } catch (const std::invalid_argument& error) {
        raise(error);
    }
}

}  // namespace

PYBIND11_MODULE(_core, module) {
    module.doc() = "pixfold's CPU kernels. Use the functions of pixfold: they choose the backend and explain errors.";
    pixfold::watch_forks();
    pybind11::register_local_exception_translator(&as_input_error);
    pixfold::bindings::register_build(module);
#define PIXFOLD_OP(name) pixfold::bindings::register_##name(module);
#include "ops.inc"
#undef PIXFOLD_OP
}
