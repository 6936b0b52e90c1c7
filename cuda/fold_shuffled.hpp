// fold, and moving floats, under an arrangement of rows that fit in shared memory twice.
#pragma once

#include <cstdint>

#include "pixfold/fold.hpp"

namespace pixfold::cuda {

// Whether fold_shuffled() can take it: floats without gaps, one feature per pixel, rows that fit, and a formula without
// offsets, and without a row scale or floor where there is no logarithm.
bool fits_shuffled(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters);

// And whether it is the fast way: enough long samples for the whole card.
bool is_shuffled(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters);

// The contract is fold_dense's (pixfold/fold.hpp).
void fold_shuffled(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters, FoldOutput out,
                   unsigned long long* counts, void* stream, const std::int64_t* sample_offset);

// Rows of words whose columns are those of other rows: out[i, c] = from[i, column[c]], 0 where that is -1. Words have 4
// bytes, or 2.
struct Moving {
    const void* from;  // (n_rows, n_from)
    void* out;         // (n_rows, n_columns)
    std::int64_t n_rows;
    std::int64_t n_from;
    std::int64_t n_columns;
    const std::int32_t* column;  // [n_columns]; null: columns are the pixels of `slots`, which are of one feature each
    std::int64_t word_bytes = 4;
    Slots slots = {};
};

bool fits_shuffled(const Moving&);
bool is_shuffled(const Moving&);
void move_shuffled(const Moving&, void* stream);

}  // namespace pixfold::cuda
