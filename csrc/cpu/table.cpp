// The kernels of one instruction set, gathered. Compiled once per instruction set, like the kernels.
#include "kernels.hpp"

namespace pixfold::PIXFOLD_ISA {

#define PIXFOLD_NAME_OF(x) #x
#define PIXFOLD_NAME(x) PIXFOLD_NAME_OF(x)

extern const Kernels table;
const Kernels table = {
    PIXFOLD_NAME(PIXFOLD_ISA), &fold_dense,   &fold_csr,         &unfold,     &column_stats_dense, &column_stats_csr,
    &row_sums_dense,           &row_sums_csr, &census_dense,     &census_csr, &fold_packed,        &column_stats_packed,
    &any_missing_packed,       &pack,         &transpose_packed, &aggregate,  &fold_gradient,      &unfold_gradient,
};

}  // namespace pixfold::PIXFOLD_ISA
