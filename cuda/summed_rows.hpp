// Rows of floats that lie whole in shared memory and are added up there: what fold and its gradient under a library
// size share. The sums are those of row_sums_dense(), addition by addition.
#pragma once

#include "async_copy.hpp"
#include "fours.hpp"
#include "pixfold/views.hpp"
#include "row_runs.hpp"

namespace pixfold::cuda {

constexpr int summed_depth = 2;  // rows in shared memory

// Runs of a row: more do not fit in shared memory.
constexpr int most_added_runs = 16;

// Numbers of rows and pixels are of 32 bits in these kernels.
constexpr std::int64_t most_summed = std::int64_t{1} << 30;

// Of a block, beside the rows.
constexpr std::int64_t beside_summed_rows = 2048;

// Shorter rows are as well read twice.
constexpr std::int64_t least_summed_features = 4096;

// Floats of a row's place in shared memory, wherever the row begins.
inline std::int64_t summed_place(std::int64_t n_features) {
    return (n_features + columns - 1 + columns - 1) / columns * columns;
}

// Rows whose sums these are, and which fit in `shared_bytes`.
inline bool fits_summed(const DenseView& x, std::int64_t n_pixels, std::int64_t shared_bytes) {
    constexpr std::int64_t element = sizeof(float);
    const std::int64_t bytes = summed_depth * summed_place(x.n_features) * element + beside_summed_rows;
    return x.dtype == DType::f32 && x.feature_stride == element && x.n_features > 0 &&
           (x.sample_stride >= element || x.sample_stride <= -element) && n_pixels <= most_summed &&
           x.n_samples <= most_summed && bytes <= shared_bytes && x.n_features <= most_added_runs * warp_run;
}

// A run as row_sums_dense() adds it up, in all lanes; `together`: values that a lane adds up side by side.
__device__ inline double sum_of_run(const float* run, int n, int together) {
    const int lane = static_cast<int>(threadIdx.x % warp_threads);
    double sum = 0.0;
    if (together == 1) {
        for (int j = lane; j < n; j += static_cast<int>(warp_threads)) {
            sum += value_or_zero(run[j]);
        }
    } else {
        for (int j = lane * columns; j < n; j += static_cast<int>(warp_threads) * columns) {
            float value[columns] = {};
            if (j + columns <= n) {
                const auto words = get_words(reinterpret_cast<const Words<float, columns>*>(run + j));
#pragma unroll
                for (int k = 0; k < columns; ++k) {
                    value[k] = words.of[k];
                }
            } else {
                for (int k = 0; j + k < n; ++k) {
                    value[k] = run[j + k];
                }
            }
#pragma unroll
            for (int k = 0; k < columns; ++k) {
                sum += value_or_zero(value[k]);
            }
        }
    }
    return sum_of_lanes(sum, warp_threads);
}

// Of each row in shared memory.
template <class R>
struct RowSum {
    double runs[most_added_runs];
    R row_scale;         // library_size over the sum, 0 for one that is not positive
    CopyBarrier added;   // the sums of its runs are there
    CopyBarrier scaled;  // and its row scale
};

// Warp number `run` adds its run of a row to the sum; the first one makes the row scale of all.
template <class R>
__device__ void add_row(const float* row, int n, int together, int run, int n_runs, double library_size, unsigned phase,
                        RowSum<R>& to) {
    const bool leads = threadIdx.x % warp_threads == 0;
    const int start = run * static_cast<int>(warp_run);
    const int left = n - start;
    const double sum =
        sum_of_run(row + start, left < static_cast<int>(warp_run) ? left : static_cast<int>(warp_run), together);
    if (leads) {
        to.runs[run] = sum;
        arrive(to.added);
    }
    if (run == 0) {
        wait_for(to.added, phase);
        if (leads) {
            double all = 0.0;
            for (int k = 0; k < n_runs; ++k) {
                all += to.runs[k];
            }
            to.row_scale = all > 0.0 ? static_cast<R>(library_size / all) : R{0};
            arrive(to.scaled);
        }
    }
}

// Four values of a row in shared memory, side by side.
__device__ inline void get_four(const float* from, float (&x)[columns]) {
    if (behind_boundary(from) == 0) {
        const auto words = get_words(reinterpret_cast<const Words<float, columns>*>(from));
#pragma unroll
        for (int k = 0; k < columns; ++k) {
            x[k] = words.of[k];
        }
    } else {
#pragma unroll
        for (int k = 0; k < columns; ++k) {
            x[k] = from[k];
        }
    }
}

}  // namespace pixfold::cuda
