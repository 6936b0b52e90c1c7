// census: warps read pieces of runs, and every thread counts what it meets.
#include <cmath>

#include "counts.hpp"
#include "launch.hpp"
#include "math/axes.hpp"
#include "pixfold/census.hpp"
#include "runs.hpp"
#include "tiles.hpp"

namespace pixfold::cuda {
namespace {

constexpr std::int64_t piece_elements = 8192;

// `n_runs` runs of n elements each, `across` bytes apart.
struct Runs {
    const char* data;
    DType dtype;
    std::int64_t n;
    std::int64_t stride;
    std::int64_t n_runs;
    std::int64_t across;
    std::int64_t n_pieces;  // of a run
    bool together;          // elements can be read 16 bytes at a time
    unsigned long long* counts;
};

template <class Word, class C>
__global__ void __launch_bounds__(block_threads) count_runs(const Runs a) {
    constexpr std::int64_t warps = block_threads / warp_threads;
    const unsigned lane = threadIdx.x % warp_threads;
    unsigned missing = 0;
    unsigned infinite = 0;
    unsigned negative = 0;
    const auto count = [&](C v) {
        missing += v != v ? 1u : 0u;
        infinite += std::fabs(v) == static_cast<C>(HUGE_VAL) ? 1u : 0u;
        negative += v < C{0} ? 1u : 0u;
    };
    for (std::int64_t unit = blockIdx.x * warps + threadIdx.x / warp_threads; unit < a.n_runs * a.n_pieces;
         unit += gridDim.x * warps) {
        const std::int64_t first = unit % a.n_pieces * piece_elements;
        const std::int64_t n = a.n - first < piece_elements ? a.n - first : piece_elements;
        const char* run = a.data + unit / a.n_pieces * a.across + first * a.stride;
        if (a.together) {
            for_values<Word, C, words_together<Word>>(a.dtype, run, a.stride, n, lane, warp_threads, count);
        } else {
            for_values<Word, C, 1>(a.dtype, run, a.stride, n, lane, warp_threads, count);
        }
    }
    add_counts({missing, infinite, negative}, a.counts);
}

bool has_any(DType dtype) {
    return dtype != DType::b8 && dtype != DType::u8 && dtype != DType::u16 && dtype != DType::u32 &&
           dtype != DType::u64;
}

void count(Runs runs, void* stream) {
    if (runs.n == 0 || !has_any(runs.dtype)) {
        return;
    }
    with_storage(runs.dtype, [&](auto storage) {
        using Word = typename decltype(storage)::Word;
        using C = typename decltype(storage)::Compute;
        constexpr std::int64_t warps = block_threads / warp_threads;
        runs.n_pieces = (runs.n + piece_elements - 1) / piece_elements;
        runs.together = reads_together(runs.data, runs.stride, runs.across, sizeof(Word));
        launch(count_runs<Word, C>, blocks_for((runs.n_runs * runs.n_pieces + warps - 1) / warps), block_threads, 0,
               stream, runs);
    });
}

}  // namespace

void census_dense(const DenseView& x, unsigned long long* counts, void* stream) {
    if (x.n_samples == 0 || x.n_features == 0) {
        return;  // and perhaps no memory to point into
    }
    const Axes axes = axes_of(x);
    count({axes.data, x.dtype, axes.along.n, axes.along.stride, axes.across.n, axes.across.stride, 0, false, counts},
          stream);
}

void census_csr(const CsrView& x, std::int64_t n_stored, unsigned long long* counts, void* stream) {
    with_storage(x.dtype, [&](auto storage) {
        constexpr std::int64_t size = sizeof(typename decltype(storage)::Word);
        count({static_cast<const char*>(x.values), x.dtype, n_stored, size, 1, 0, 0, false, counts}, stream);
    });
}

}  // namespace pixfold::cuda
