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

// aggregate on a CUDA device: the formula is pixfold/aggregate.hpp's, and all pointers are the device's. What differs:
//   - calls are queued on the stream and return at once, and nothing on the way waits for the host: labels, numbers of
//     samples and the decision whether a batch counts stay on the device
//   - moments of a class are in one of two places, and a batch writes into the other one. If a new moment is not
//   finite,
//     a label is out of range or a mark is neither 0 nor 1, that is added to `refused`, for whoever reads it later, and
//     counts and sides stay as they are: the batch changes nothing, and later ones go on from what was before it
//   - attributions have strides in elements, and must be aligned to the element's size
//   - the samples of a class may be summed in parts, whose sums are added in order. Where the parts begin follows from
//     the numbers of samples and pixels alone: the bits are the same on every card. Where a class is one part they are
//     those of the CPU's kernels with fused multiply-add.
//
// A block sums a tile of pixels of one part of one class. A part is all samples of a class where there are blocks
// enough to fill a large GPU, else classes are split every 2^k samples. A part's sums are written and read again, 48
// bytes per pixel, as much as 12 float32 samples. So large images, whose sums go to memory, are not split; those of
// small ones stay in L2.
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
    std::int64_t n_samples;
    std::int64_t n_channels;  // summed
    std::int64_t n_pixels;
    std::int64_t sample_stride;
    std::int64_t channel_stride;
    std::int64_t pixel_stride;
    const std::int64_t* labels;  // [n_samples]
    const std::uint8_t* keep;    // [n_samples] 0 or 1; null: all samples count
};

// What batches leave behind.
struct AggregateState {
    std::int64_t n_classes;
    std::int64_t* count;  // [n_classes] samples so far
    std::int64_t* side;   // [n_classes] 0 or 1: which of `moments` is the class's
    double* moments[2];   // row-major (n_classes, 3, n_pixels): mean, m2, mean_abs; not read where count is 0
    // Added to, where a batch is refused: moments that are not finite, labels out of range, marks that are no booleans.
    unsigned long long* refused;  // [3]
};

constexpr std::int64_t enough_sums = 2048;  // blocks
constexpr std::int64_t least_part = 16;     // samples

// Samples of a part: a power of two of them, or all. `enough` blocks: tests change it.
std::int64_t aggregate_part_samples(std::int64_t n_samples, std::int64_t n_pixels, std::int64_t enough = enough_sums);

// Bytes of scratch memory, which is the caller's, aligned to 16.
std::int64_t aggregate_workspace_bytes(std::int64_t n_samples, std::int64_t n_classes, std::int64_t n_pixels,
                                       std::int64_t part_samples);

void aggregate(const AggregateBatch&, const AggregateState&, std::int64_t part_samples, void* workspace, void* stream);

}  // namespace pixfold::cuda
