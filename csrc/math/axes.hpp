// The two axes of a matrix in the order in which memory is best read, for ops that look at every element and do not
// care about their order.
#pragma once

#include <initializer_list>

#include "isa.hpp"
#include "pixfold/views.hpp"

namespace pixfold::PIXFOLD_ISA {

struct Axis {
    std::int64_t n;
    std::int64_t stride;  // bytes, not negative
};

struct Axes {
    const char* data;
    Axis along;   // the smaller stride
    Axis across;  // n is 1 where a matrix without gaps is one run
};

// Of a matrix that has elements.
inline Axes axes_of(const DenseView& x) {
    Axes axes{static_cast<const char*>(x.data), {x.n_features, x.feature_stride}, {x.n_samples, x.sample_stride}};
    for (Axis* axis : {&axes.along, &axes.across}) {
        if (axis->stride < 0) {
            axes.data += (axis->n - 1) * axis->stride;
            axis->stride = -axis->stride;
        }
    }
    if (axes.across.stride < axes.along.stride) {
        const Axis rows = axes.along;
        axes.along = axes.across;
        axes.across = rows;
    }
    if (axes.across.stride == axes.along.n * axes.along.stride) {
        axes.along.n *= axes.across.n;
        axes.across.n = 1;
    }
    return axes;
}

}  // namespace pixfold::PIXFOLD_ISA
