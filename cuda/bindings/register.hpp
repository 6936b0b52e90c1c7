// One registration function per op.
#pragma once

#include <pybind11/pybind11.h>

namespace pixfold::cuda::bindings {

void register_build(pybind11::module_& module);
void register_fold(pybind11::module_& module);
void register_fold_csr(pybind11::module_& module);
void register_packed(pybind11::module_& module);
void register_unfold(pybind11::module_& module);
void register_gradients(pybind11::module_& module);
void register_column_stats(pybind11::module_& module);
void register_row_sums(pybind11::module_& module);
void register_census(pybind11::module_& module);
void register_aggregate(pybind11::module_& module);
void register_rank(pybind11::module_& module);

}  // namespace pixfold::cuda::bindings
