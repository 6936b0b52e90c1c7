// One table of kernels per instruction set, and the choice between them at run time.
#pragma once

#include <string>
#include <vector>

#include "pixfold/aggregate.hpp"
#include "pixfold/census.hpp"
#include "pixfold/column_stats.hpp"
#include "pixfold/fold.hpp"
#include "pixfold/unfold.hpp"

namespace pixfold {

struct Kernels {
    const char* isa;
    FoldDense fold_dense;
    FoldCsr fold_csr;
    Unfold unfold;
    ColumnStatsDense column_stats_dense;
    ColumnStatsCsr column_stats_csr;
    RowSumsDense row_sums_dense;
    RowSumsCsr row_sums_csr;
    CensusDense census_dense;
    CensusCsr census_csr;
    Aggregate aggregate;
    AllFinite all_finite;
};

// The table in use: the best one that this machine runs, or the one that PIXFOLD_ISA names.
const Kernels& kernels();

// Names of the tables that are built in and run on this machine, best last.
std::vector<std::string> available_isas();

// Take another table; throws std::invalid_argument for a name that is unknown, not built or not run by this machine.
void set_isa(const std::string& name);

}  // namespace pixfold
