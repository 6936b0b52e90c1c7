// What kernels count on their way, added up in integers, so that the sum does not depend on who comes first.
#pragma once

#include "simt.hpp"

namespace pixfold::cuda {

// Adds what every thread of the block has met to `counts`, on the device, which may be null. Every thread calls this
// once. No thread may have met 2^32 of anything.
template <int n>
__device__ void add_counts(const unsigned (&met)[n], unsigned long long* counts) {
    unsigned any = 0;
    for (int k = 0; k < n; ++k) {
        any |= met[k];
    }
    if (counts == nullptr || __any_sync(whole_warp, any != 0) == 0) {
        return;
    }
    for (int k = 0; k < n; ++k) {
        unsigned long long sum = met[k];
        for (unsigned flip = warp_threads / 2; flip > 0; flip /= 2) {
            sum += __shfl_xor_sync(whole_warp, sum, flip);
        }
        if (threadIdx.x % warp_threads == 0) {
            atomicAdd(&counts[k], sum);
        }
    }
}

}  // namespace pixfold::cuda
