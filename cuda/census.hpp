// census on a CUDA device: the contract is pixfold/census.hpp's, and all pointers, those inside the views too, are the
// device's. Calls are queued on the stream and return at once; missing, infinite and negative values are added to
// counts[0], counts[1] and counts[2], for whoever reads them later. Elements, and rows of a strided matrix, must be
// aligned to the element's size.
#pragma once

#include "pixfold/census.hpp"

namespace pixfold::cuda {

void census_dense(const DenseView&, unsigned long long* counts, void* stream);
// The number of stored values is the caller's to know: row_start is not looked at.
void census_csr(const CsrView&, std::int64_t n_stored, unsigned long long* counts, void* stream);

}  // namespace pixfold::cuda
