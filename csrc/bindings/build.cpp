#include <pybind11/stl.h>

#include "cpu/dispatch.hpp"
#include "cpu/threads.hpp"

namespace pixfold::bindings {

void register_build(pybind11::module_& module) {
    namespace py = pybind11;
    module.attr("__version__") = PIXFOLD_VERSION;
#ifdef _OPENMP
    module.attr("openmp") = true;
#else
    module.attr("openmp") = false;
#endif
    module.attr("compiler") = PIXFOLD_COMPILER;
    module.def("isa", [] { return isa_in_use(); }, "Instruction set of the kernels in use.");
    module.def("isas", &available_isas, "Instruction sets built in that this machine runs, best last.");
    module.def(
        "set_isa", [](const std::string& name) { set_isa(name); }, py::arg("name"),
        "Use the kernels of another instruction set (for tests).");
    module.def("default_threads", &default_threads, "Threads that threads=None stands for.");
}

}  // namespace pixfold::bindings
