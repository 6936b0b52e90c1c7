// census: how many values of a matrix are missing, infinite and negative, all features together. One read at the speed
// of memory, for who must know before writing anything whether there is something to refuse; which features they are
// in is column_stats' matter.
//
//     missing: NaN; infinite: of either sign; negative: below 0, -infinity included and -0 not
// For sparse samples the stored values are looked at: a zero is none of the three. Unsigned types are not read at all.
#pragma once

#include <cstdint>

#include "pixfold/views.hpp"

namespace pixfold {

struct CensusCounts {
    std::int64_t missing = 0;
    std::int64_t infinite = 0;
    std::int64_t negative = 0;
};

using CensusDense = CensusCounts (*)(const DenseView&, int threads);
using CensusCsr = CensusCounts (*)(const CsrView&, int threads);

}  // namespace pixfold
