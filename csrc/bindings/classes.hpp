// The classes of a batch of attributions.
#pragma once

#include <vector>

#include "array.hpp"
#include "pixfold/aggregate.hpp"

namespace pixfold::bindings {

// samples: positions in the batch, class after class; added: how many each class has; seen: how many it had. These lie
// on the CPU; before (None where nothing was seen) and after are moments (3, n_pixels) on the device of the call.
std::vector<ClassSamples> class_samples(const Arguments& of, const Array& samples, const Array& added,
                                        const Array& seen, const std::vector<OptionalArray>& before,
                                        const std::vector<Array>& after, std::int64_t n_samples, std::int64_t n_pixels);

}  // namespace pixfold::bindings
