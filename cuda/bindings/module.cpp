#include <exception>

#include "launch.hpp"
#include "register.hpp"

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
    pybind11::register_local_exception_translator(&as_backend_error);
    using namespace pixfold::cuda::bindings;
    register_build(module);
    register_fold(module);
    register_fold_csr(module);
    register_packed(module);
    register_unfold(module);
    register_gradients(module);
    register_column_stats(module);
    register_row_sums(module);
    register_census(module);
    register_aggregate(module);
    register_rank(module);
}
