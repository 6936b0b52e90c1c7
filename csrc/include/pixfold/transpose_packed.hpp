// transpose_packed: codes of two bits, rows turned into columns. A .bed file has a row of samples per variant; what
// pixfold folds has a row of variants per sample.
#pragma once

#include <cstdint>

#include "pixfold/kernel.hpp"
#include "pixfold/packed.hpp"

namespace pixfold {

// Rows of whole bytes that are written; the stride between them is in bytes, of any sign.
struct PackedRows {
    std::uint8_t* bits;
    std::int64_t stride;
};

// Code i of row j of the output is code j of row i of the input: `x` of n_samples rows with n_features codes each gives
// n_features rows of (n_samples + 3) / 4 bytes. Bits of their last byte that belong to no code are 0; bytes between
// rows are left alone. The rows of the output must not overlap each other or the input.
PIXFOLD_KERNEL(transpose_packed, void(const PackedView& x, const PackedRows& out, int threads));

}  // namespace pixfold
