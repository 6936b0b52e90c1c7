// Genotypes packed two bits each, sample-major, in the coding of PLINK 1 .bed files, and the ops on them.
//
// Feature j of a sample is in byte j / 4 of its row, bits 2 (j % 4) and above:
//     0 = homozygous for the first allele, 1 = missing, 2 = heterozygous, 3 = homozygous for the second allele
// Bits of the last byte that belong to no feature are ignored. Nothing outside the rows' ceil(n_features / 4) bytes is
// read, and no alignment is asked for.
#pragma once

#include <cstdint>

#include "pixfold/column_stats.hpp"
#include "pixfold/fold.hpp"
#include "pixfold/kernel.hpp"
#include "pixfold/views.hpp"

namespace pixfold {

// Rows of whole bytes; the stride between them is in bytes, of any sign.
struct PackedView {
    const std::uint8_t* bits;
    std::int64_t n_samples;
    std::int64_t n_features;
    std::int64_t sample_stride;

    constexpr std::int64_t row_bytes() const { return (n_features + 3) / 4; }
};

// What each code becomes at each pixel. A pixel without a feature has 0 for all four codes.
struct PackedTable {
    const void* planes;            // (4, plane_stride) elements of dtype, aligned to 64 bytes
    std::int64_t plane_stride;     // n_pixels rounded up to a multiple of 64; what is past n_pixels is not used
    DType dtype;                   // f32, f16, bf16 or i8
    const std::int32_t* position;  // [n_pixels] packed_position of the pixel's feature; null: pixel p shows feature p
    std::int64_t n_pixels;
};

// Where the fold keeps feature j of several samples side by side: the features of one residue mod 4 follow each other.
constexpr std::int64_t packed_position(std::int64_t feature, std::int64_t row_bytes) {
    return (feature & 3) * row_bytes + (feature >> 2);
}

// out[i, p] = table[code of the feature of p in sample i][p], row-major (n_samples, n_pixels), wholly written.
PIXFOLD_KERNEL(fold_packed, void(const PackedView&, const PackedTable&, void* out, int threads));

// column_stats of the values that the codes 0, 2 and 3 stand for (`copies` of code 0; 1; 2 - copies): the number of
// each code per feature is counted, and the statistics follow from the counts. Exact counts, so the bits depend neither
// on the threads nor on the order of the samples. arguments.row_scale must be null.
PIXFOLD_KERNEL(column_stats_packed, StatsCounts(const PackedView&, std::int32_t copies, const StatsArguments& arguments,
                                                const StatsOutput&, int threads));

// Whether any genotype is missing.
PIXFOLD_KERNEL(any_missing_packed, bool(const PackedView&, int threads));

// Pack a dense matrix into rows of (n_features + 3) / 4 bytes, without gaps, unused bits 0. Values are copies of the
// first allele (copies_of_first 2: x = 2 becomes code 0) or of the second (0: x = 0 becomes code 0). NaN, and in an
// integer matrix the value `missing`, become code 1. Returns the first value, as i * n_features + j, that is none of
// these, or -1; the output is then not complete.
struct PackArguments {
    std::int32_t copies;
    std::int64_t missing;
};
PIXFOLD_KERNEL(pack, std::int64_t(const DenseView&, const PackArguments&, std::uint8_t* bits, int threads));

}  // namespace pixfold

namespace pixfold::cuda {

// fold of packed genotypes on a CUDA device: the contract is pixfold/packed.hpp's, all pointers are the device's.

struct FoldPackedArguments {
    PackedView x;                          // n_samples are those that are folded
    Slots slots;                           // one feature per pixel
    const void* planes;                    // (4, n_pixels) elements: what each code becomes at each pixel; 0 at padding
    std::int64_t element;                  // bytes: 1, 2 or 4
    void* out;                             // (n_samples, n_pixels)
    std::uint32_t* scratch;                // [packed_scratch(x)] where slots.feature is not null
    const std::int64_t* sample = nullptr;  // [n_samples] rows of x that are folded, in any order; null: all, in order
};

// How many samples' codes of one feature a word of the scratch memory holds.
constexpr std::int64_t word_samples = 16;

// The codes again, as many bits as they came in, rounded up to whole words.
constexpr std::int64_t packed_scratch(const PackedView& x) {
    return (x.n_samples + word_samples - 1) / word_samples * x.row_bytes() * 4;
}

void fold_packed(const FoldPackedArguments&, void* stream);

// Of layouts with several features to a pixel: the mean of their values, as fold_dense takes it.
struct FoldPackedMeans {
    PackedView x;            // as above
    Slots slots;             // first_slot is not null
    const float* values;     // (4, n_slots): what each code becomes at each slot
    FoldOutput out;          // (n_samples, n_pixels)
    std::uint32_t* scratch;  // [packed_scratch(x)]
    const std::int64_t* sample = nullptr;
};

void fold_packed_means(const FoldPackedMeans&, void* stream);

// The statistics of packed genotypes on a CUDA device: the contract is pixfold/packed.hpp's, and all pointers, those
// inside the arguments too, are the device's. Counts are exact, and the statistics are those of the CPU, bit by bit
// where its logarithm fuses multiplications and additions, too. Calls are queued on the stream and return at once;
// negative values are added to counts[0], for whoever reads them later; `counts` may be null.

// Threads take spans of samples as long as leave `enough_threads` of them.
void column_stats_packed(const PackedView&, std::int32_t copies, const StatsArguments&, const StatsOutput&,
                         unsigned long long* counts, void* stream, std::int64_t enough_threads = std::int64_t{1} << 17);

}  // namespace pixfold::cuda
