// row_sums: sum over the features of each sample, NaN left out, in double. The order of the additions is fixed by the
// number of features and the storage alone.
#pragma once

#include <cstdint>

#include "pixfold/kernel.hpp"
#include "pixfold/views.hpp"

namespace pixfold {

PIXFOLD_KERNEL(row_sums_dense, void(const DenseView&, double* out, int threads));
PIXFOLD_KERNEL(row_sums_csr, void(const CsrView&, double* out, int threads));

}  // namespace pixfold

namespace pixfold::cuda {

// Row sums on a CUDA device: the contract is pixfold/column_stats.hpp's, and all pointers, those inside the views too,
// are the device's. Calls are queued on the stream and return at once. Elements, and rows of a strided matrix, must be
// aligned to the element's size; scratch memory is the caller's, aligned to 16 bytes, null where none is asked for.
//
// Threads that stand side by side share a row, or a run of its features: each adds up the values that it reads, and
// theirs are added in pairs; runs are added in order. The order of the additions depends on the number of features, the
// strides and the alignment alone; for sparse rows on the number of stored values of the row.

std::int64_t row_sums_dense_workspace(const DenseView&);  // bytes
void row_sums_dense(const DenseView&, double* out, void* workspace, void* stream);
void row_sums_csr(const CsrView&, double* out, void* stream);

}  // namespace pixfold::cuda
