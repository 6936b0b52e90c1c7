// aggregate on a CUDA device: the contract is pixfold/aggregate.hpp's, and all pointers, those inside the tables too,
// are the device's. What differs:
//   - calls are queued on the stream and return at once; new moments that are not finite are added to *bad, for whoever
//     reads it later, and `after` is unspecified where there are any
//   - attributions have strides in elements, and must be aligned to the element's size; before, after and the
//     workspace to 16 bytes
//   - the samples of a class may be summed in parts, whose sums are added in order. Where the parts begin follows from
//     the batch and the image alone (aggregate_plan.hpp): the bits are the same on every card. Where a class is one
//     part they are those of the CPU's kernels with fused multiply-add.
//
// Arithmetic per attribution: four operations in double (difference, sum, fused square, sum of magnitudes) and a
// conversion; a further channel takes a sum and a conversion. For one channel of float32 that is one operation per
// byte. Processors with 32 or 64 double units per multiprocessor (sm_80, sm_90, sm_100) do two to four while their
// memory delivers a byte; those with two (sm_86, sm_89, sm_120) do about half of one, and there the arithmetic and not
// the memory sets the time. Sums in pairs of floats would mend that, but they hold neither the squares of very large
// and small floats nor all 53 bits, and moments would differ from card to card: double everywhere.
#pragma once

#include "aggregate_plan.hpp"
#include "pixfold/aggregate.hpp"

namespace pixfold::cuda {

struct AggregateBatch {
    const void* attributions;  // (n_samples, n_channels, n_pixels): f32, f64, f16 or bf16
    DType dtype;
    std::int64_t n_channels;  // summed
    std::int64_t n_pixels;
    std::int64_t sample_stride;
    std::int64_t channel_stride;
    std::int64_t pixel_stride;
    // The plan's tables, on the device.
    const PlannedClass* classes;
    std::int64_t n_classes;
    const Part* parts;
    std::int64_t n_parts;
};

// What the parts' sums take: 0 where every class is one part.
std::int64_t aggregate_workspace_bytes(std::int64_t n_classes, std::int64_t n_parts, std::int64_t n_pixels);

void aggregate(const AggregateBatch&, void* workspace, unsigned long long* bad, void* stream);

}  // namespace pixfold::cuda
