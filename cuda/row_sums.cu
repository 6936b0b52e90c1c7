// Row sums: how many threads share a row depends on its storage, and what one of them adds up is bounded, so that few
// long rows fill the device as well as many short ones.
#include "launch.hpp"
#include "pixfold/row_sums.hpp"
#include "row_runs.hpp"
#include "tiles.hpp"

namespace pixfold::cuda {
namespace {

struct DenseRows {
    const char* data;
    DType dtype;
    std::int64_t n_samples;
    std::int64_t n_features;
    std::int64_t sample_stride;
    std::int64_t feature_stride;
    bool wide;         // elements side by side, to be read 16 bytes at a time
    unsigned lanes;    // threads of a row: a power of two, no more than a warp
    std::int64_t run;  // features
    std::int64_t n_runs;
    double* out;  // [n_runs][n_samples]
};

template <class Word, class C, int width>
__device__ double sum_of_thread(DType dtype, const char* run, std::int64_t stride, std::int64_t n, unsigned lane,
                                unsigned lanes) {
    double sum = 0.0;
    for_values<Word, C, width>(dtype, run, stride, n, lane, lanes, [&](C v) { sum += value_or_zero(v); });
    return sum;
}

template <class Word, class C>
__global__ void __launch_bounds__(block_threads) sum_dense(const DenseRows a) {
    const std::int64_t n_units = a.n_samples * a.n_runs;
    const unsigned lane = threadIdx.x % a.lanes;
    const auto rows = static_cast<std::int64_t>(block_threads / a.lanes);  // of a block at a time
    for (std::int64_t first = blockIdx.x * rows; first < n_units; first += gridDim.x * rows) {
        const std::int64_t unit = first + threadIdx.x / a.lanes;
        double sum = 0.0;
        if (unit < n_units) {
            const std::int64_t i = unit % a.n_samples;
            const std::int64_t start = unit / a.n_samples * a.run;
            const std::int64_t n = a.n_features - start < a.run ? a.n_features - start : a.run;
            const char* run = a.data + i * a.sample_stride + start * a.feature_stride;
            sum = a.wide
                      ? sum_of_thread<Word, C, words_together<Word>>(a.dtype, run, a.feature_stride, n, lane, a.lanes)
                      : sum_of_thread<Word, C, 1>(a.dtype, run, a.feature_stride, n, lane, a.lanes);
        }
        sum = sum_of_lanes(sum, a.lanes);
        if (unit < n_units && lane == 0) {
            a.out[unit] = sum;
        }
    }
}

// out[i] = the sum of the runs of row i, in order.
__global__ void __launch_bounds__(block_threads)
    add_runs(const double* runs, double* out, const std::int64_t n_samples, const std::int64_t n_runs) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * block_threads;
    for (std::int64_t i = blockIdx.x * std::int64_t{block_threads} + threadIdx.x; i < n_samples; i += stride) {
        double sum = 0.0;
        for (std::int64_t run = 0; run < n_runs; ++run) {
            sum += runs[run * n_samples + i];
        }
        out[i] = sum;
    }
}

// A warp takes a row.
template <class Word, class C>
__global__ void __launch_bounds__(block_threads) sum_sparse(const CsrView x, double* out) {
    constexpr std::int64_t rows = block_threads / warp_threads;
    const std::int64_t warp = threadIdx.x / warp_threads;
    for (std::int64_t i = blockIdx.x * rows + warp; i < x.n_samples; i += gridDim.x * rows) {
        const std::int64_t start = x.row_start[i];
        const char* row = static_cast<const char*>(x.values) + start * std::int64_t{sizeof(Word)};
        const unsigned lane = threadIdx.x % warp_threads;
        const double sum = sum_of_lanes(
            sum_of_thread<Word, C, 1>(x.dtype, row, sizeof(Word), x.row_start[i + 1] - start, lane, warp_threads),
            warp_threads);
        if (lane == 0) {
            out[i] = sum;
        }
    }
}

inline std::int64_t size_of_stride(std::int64_t stride) { return stride < 0 ? -stride : stride; }

// A thread for a row where samples lie closer together than features: then those of a warp read side by side.
DenseRows rows_of(const DenseView& x, std::int64_t element_bytes) {
    const bool across = size_of_stride(x.sample_stride) < size_of_stride(x.feature_stride);
    const bool wide = reads_together(x.data, x.feature_stride, x.sample_stride, element_bytes);
    const std::int64_t together = wide ? 16 / element_bytes : 1;
    unsigned lanes = 1;
    while (!across && lanes < warp_threads && lanes * together < x.n_features) {
        lanes *= 2;
    }
    const std::int64_t run = thread_values * lanes;
    const std::int64_t n_runs = x.n_features > run ? (x.n_features + run - 1) / run : 1;
    return {static_cast<const char*>(x.data),
            x.dtype,
            x.n_samples,
            x.n_features,
            x.sample_stride,
            x.feature_stride,
            wide,
            lanes,
            run,
            n_runs,
            nullptr};
}

template <class F>
void with_rows(const DenseView& x, F&& f) {
    with_storage(x.dtype, [&](auto storage) { f(storage, rows_of(x, sizeof(typename decltype(storage)::Word))); });
}

}  // namespace

std::int64_t row_sums_dense_workspace(const DenseView& x) {
    std::int64_t bytes = 0;
    with_rows(x, [&](auto, const DenseRows& rows) {
        bytes = rows.n_runs > 1 ? rows.n_runs * rows.n_samples * std::int64_t{sizeof(double)} : 0;
    });
    return bytes;
}

void row_sums_dense(const DenseView& x, double* out, void* workspace, void* stream) {
    if (x.n_samples == 0) {
        return;
    }
    with_rows(x, [&](auto storage, DenseRows rows) {
        using Word = typename decltype(storage)::Word;
        using C = typename decltype(storage)::Compute;
        rows.out = rows.n_runs > 1 ? static_cast<double*>(workspace) : out;
        const std::int64_t threads = rows.n_samples * rows.n_runs * rows.lanes;
        launch(sum_dense<Word, C>, blocks_for((threads + block_threads - 1) / block_threads), block_threads, 0, stream,
               rows);
        if (rows.n_runs > 1) {
            launch(add_runs, blocks_for((rows.n_samples + block_threads - 1) / block_threads), block_threads, 0, stream,
                   static_cast<const double*>(rows.out), out, rows.n_samples, rows.n_runs);
        }
    });
}

void row_sums_csr(const CsrView& x, double* out, void* stream) {
    if (x.n_samples == 0) {
        return;
    }
    with_storage(x.dtype, [&](auto storage) {
        using Word = typename decltype(storage)::Word;
        using C = typename decltype(storage)::Compute;
        constexpr std::int64_t rows = block_threads / warp_threads;
        launch(sum_sparse<Word, C>, blocks_for((x.n_samples + rows - 1) / rows), block_threads, 0, stream, x, out);
    });
}

}  // namespace pixfold::cuda
