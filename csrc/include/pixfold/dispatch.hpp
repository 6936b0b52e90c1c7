// One table of kernels per instruction set, and the choice between them at run time.
#pragma once

#include <string>
#include <vector>

#include "pixfold/aggregate.hpp"
#include "pixfold/census.hpp"
#include "pixfold/column_stats.hpp"
#include "pixfold/fold.hpp"
#include "pixfold/fold_gradient.hpp"
#include "pixfold/packed.hpp"
#include "pixfold/transpose_packed.hpp"
#include "pixfold/unfold.hpp"
#include "pixfold/unfold_gradient.hpp"

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
    FoldPacked fold_packed;
    ColumnStatsPacked column_stats_packed;
    AnyMissingPacked any_missing_packed;
    Pack pack;
    TransposePacked transpose_packed;
    Aggregate aggregate;
    FoldGradient fold_gradient;
    UnfoldGradient unfold_gradient;
};

// Which levels of x86-64 a processor runs; any other processor runs portable code as v2.
struct Processor {
    bool v2 = true;
    bool v3 = false;
    bool v4 = false;
};

// The table of that name for such a processor, the best one for an empty name. Throws std::invalid_argument for a name
// that is unknown, not built or not run by the processor, std::runtime_error where it runs none.
const Kernels& kernels_for(const std::string& name, const Processor& processor);

// The table in use: the best one that this machine runs, or the one that PIXFOLD_ISA names.
const Kernels& kernels();

// Names of the tables that are built in and run on this machine, best last.
std::vector<std::string> available_isas();

// Take another table; throws std::invalid_argument for a name that is unknown, not built or not run by this machine.
void set_isa(const std::string& name);

}  // namespace pixfold
