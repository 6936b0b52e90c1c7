// census: how many values of a matrix are missing, infinite and negative, all features together. One read at the speed
// of memory, for who must know before writing anything whether there is something to refuse; which features they are
// in is column_stats' matter.
//
//     missing: NaN; infinite: of either sign; negative: below 0, -infinity included and -0 not
// For sparse samples the stored values are looked at: a zero is none of the three. Unsigned types are not read at all.
#pragma once

#include <cstdint>

#include "pixfold/kernel.hpp"
#include "pixfold/views.hpp"

namespace pixfold {

struct CensusCounts {
    std::int64_t missing = 0;
    std::int64_t infinite = 0;
    std::int64_t negative = 0;
};

PIXFOLD_KERNEL(census_dense, CensusCounts(const DenseView&, int threads));
PIXFOLD_KERNEL(census_csr, CensusCounts(const CsrView&, int threads));

}  // namespace pixfold

namespace pixfold::cuda {

// census on a CUDA device: the contract is pixfold/census.hpp's, and all pointers, those inside the views too, are the
// device's. Calls are queued on the stream and return at once; missing, infinite and negative values are added to
// counts[0], counts[1] and counts[2], for whoever reads them later. Elements, and rows of a strided matrix, must be
// aligned to the element's size.

void census_dense(const DenseView&, unsigned long long* counts, void* stream);
// The number of stored values is the caller's to know: row_start is not looked at.
void census_csr(const CsrView&, std::int64_t n_stored, unsigned long long* counts, void* stream);

}  // namespace pixfold::cuda
