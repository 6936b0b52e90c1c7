#include "pixfold/threads.hpp"
#include "register.hpp"

PYBIND11_MODULE(_core, module) {
    module.doc() = "pixfold's CPU kernels. Use the functions of pixfold: they choose the backend and explain errors.";
    pixfold::watch_forks();
    using namespace pixfold::bindings;
    register_build(module);
    register_fold(module);
    register_unfold(module);
    register_column_stats(module);
    register_aggregate(module);
    register_rank(module);
    register_limits(module);
}
