// aggregate: add a batch of attributions to per-class, per-pixel running moments, in one pass.
//
//     a[b, p] = sum over channels c of attributions[b, c, p]
// For each class of the batch, n samples seen before and m in the batch, N = n + m, all sums over those m in order:
//     q = n > 0 ? mean[p] : a[first sample, p]
//     S = sum (a - q),  Q = sum (a - q)^2,  A = sum |a|
//     mean' = q + S / N,  m2' = m2 + (Q - S * (S / N)),  mean_abs' = mean_abs * (n / N) + A / N
// This is the pairwise formula of Chan, Golub and LeVeque (1983), with the mean before as the pivot of the new samples.
// Everything is double. A per-feature view is taken from the pixels afterwards, by the layout.
//
// Samples that are not listed are not read. The new moments go where the caller can leave them: if one of them is not
// finite (an attribution is NaN or infinite, or a double is so large that its square overflows), the result is false
// and `after` unspecified; `before` is never written. The bits do not depend on the number of threads; where the
// instruction set has fused multiply-add, Q is summed with it.
//
// Bytes: each listed attribution is read once, and the three doubles per pixel of each class that the batch holds are
// read and written once. With K such classes in B float32 samples that is 1 + 12 K / B times the attributions' bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "pixfold/kernel.hpp"
#include "pixfold/views.hpp"

namespace pixfold {

// The samples of one class.
struct ClassSamples {
    const std::int64_t* samples;  // [n_samples] positions in the batch
    std::int64_t n_samples;       // at least 1
    std::int64_t seen;            // samples before this batch
    const double* before;         // mean, m2 and mean_abs: row-major (3, n_pixels); not read where seen is 0
    double* after;                // the same, written; overlaps nothing
};

struct AggregateArguments {
    const void* attributions;  // row-major (n_samples, n_channels, n_pixels): f32, f64, f16 or bf16
    DType dtype;
    std::int64_t n_channels;  // summed
    std::int64_t n_pixels;
    const ClassSamples* classes;  // no class twice
    std::int64_t n_classes;
};

// Whether all new moments are finite.
PIXFOLD_KERNEL(aggregate, bool(const AggregateArguments&, int threads));

}  // namespace pixfold

namespace pixfold::cuda {

// How the samples of a batch are shared out. A block sums a tile of pixels of one part of one class: the samples of a
// class are one part where there are blocks enough to fill a large GPU, else they are split every 2^k samples.
//
// A part's sums are written and read again, 48 bytes per pixel, as much as 12 float32 samples. So large images, whose
// sums go to memory, are not split; those of small ones stay in L2.

constexpr std::int64_t enough_sums = 1024;  // blocks
constexpr std::int64_t least_part = 16;     // samples

// Samples [first, first + n_samples) of the class with number `of`.
struct Part {
    std::int64_t of;
    std::int64_t first;
    std::int64_t n_samples;
};

struct PlannedClass {
    ClassSamples samples;
    std::int64_t first_part;
    std::int64_t n_parts;  // in order
};

struct AggregatePlan {
    std::vector<PlannedClass> classes;
    std::vector<Part> parts;  // class after class
};

// `enough` blocks: tests change it.
AggregatePlan plan_aggregate(const ClassSamples* classes, std::int64_t n_classes, std::int64_t n_pixels,
                             std::int64_t enough = enough_sums);

// aggregate on a CUDA device: the contract is pixfold/aggregate.hpp's, and all pointers, those inside the tables too,
// are the device's. What differs:
//   - calls are queued on the stream and return at once; new moments that are not finite are added to *bad, for whoever
//     reads it later, and `after` is unspecified where there are any
//   - attributions have strides in elements, and must be aligned to the element's size; before, after and the
//     workspace to 16 bytes
//   - the samples of a class may be summed in parts, whose sums are added in order. Where the parts begin follows from
//     the batch and the image alone: the bits are the same on every card. Where a class is one
//     part they are those of the CPU's kernels with fused multiply-add.
//
// Arithmetic per attribution: four operations in double (difference, sum, fused square, sum of magnitudes) and a
// conversion; a further channel takes a sum and a conversion. For one channel of float32 that is one operation per
// byte. Processors with 32 or 64 double units per multiprocessor (sm_80, sm_90, sm_100) do two to four while their
// memory delivers a byte; those with two (sm_86, sm_89, sm_120) do about half of one, and there the arithmetic and not
// the memory sets the time. Sums in pairs of floats would mend that, but they hold neither the squares of very large
// and small floats nor all 53 bits, and moments would differ from card to card: double everywhere.

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
