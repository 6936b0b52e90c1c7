// A block goes through rows that lie whole in shared memory, two deep. One warp has them copied; some add one up, each
// a run of it, while the others fold the row before. Those take fours of pixels, aligned in the image.
//
// The sums are those of row_sums_dense(), addition by addition. The loop over the fours knows regular values alone
// (regular.hpp); the others are folded again from the row while it is there.
#include "async_copy.hpp"
#include "card.hpp"
#include "counts.hpp"
#include "fold_library.hpp"
#include "launch.hpp"
#include "regular.hpp"
#include "row_runs.hpp"
#include "words.hpp"

namespace pixfold::cuda {
namespace {

constexpr int depth = 2;  // rows in shared memory
constexpr unsigned threads = 1024;
constexpr int n_warps = static_cast<int>(threads / warp_threads);

// Shorter rows, and fewer than multiprocessors, are as well read twice.
constexpr std::int64_t least_features = 4096;

// Numbers of rows and pixels are of 32 bits in the kernel.
constexpr std::int64_t most = std::int64_t{1} << 30;

// Of a block, beside the rows.
constexpr std::int64_t other_shared_bytes = 2048;

// As many runs as half of the warps: more do not fit in shared memory.
constexpr int most_runs = n_warps / 2;

template <class O>
struct Library {
    const char* data;
    std::int64_t sample_stride;
    O* out;
    int n_samples;
    int n_features;
    int n_pixels;
    int n_slots;
    int place;     // floats of a row's place in shared memory
    int n_runs;    // of a row
    int together;  // values that a lane adds up side by side
    double library_size;
    const std::int32_t* feature;  // [n_slots], of each pixel; null: in order
    Formula<float> formula;
    LogTable table;
    unsigned long long* counts;
};

template <class O>
__device__ const float* row_of(const Library<O>& a, int i) {
    return reinterpret_cast<const float*>(a.data + i * a.sample_stride);
}

// A run as row_sums_dense() adds it up, in all lanes.
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

// Four values of a row in shared memory.
template <class O>
__device__ void gather_four(const Library<O>& a, const float* row, int first, float (&x)[columns]) {
    if (a.feature != nullptr) {
#pragma unroll
        for (int k = 0; k < columns; ++k) {
            x[k] = row[a.feature[first + k]];
        }
    } else if (behind_boundary(row + first) == 0) {
        const auto words = get_words(reinterpret_cast<const Words<float, columns>*>(row + first));
#pragma unroll
        for (int k = 0; k < columns; ++k) {
            x[k] = words.of[k];
        }
    } else {
#pragma unroll
        for (int k = 0; k < columns; ++k) {
            x[k] = row[first + k];
        }
    }
}

// Pixels one by one: those that are irregular, or all.
template <class O>
__device__ void one_by_one(const Library<O>& a, const LogTable& table, const float* row, float row_scale, int first,
                           bool all, O* image, Met& met) {
#pragma unroll 1
    for (int p = first < 0 ? 0 : first; p < first + columns && p < a.n_pixels; ++p) {
        O one{};
        if (p < a.n_slots) {
            const float x = row[a.feature != nullptr ? a.feature[p] : p];
            if (!all && !is_irregular<Steps::row>(a.formula, x, lift<Steps::row>(a.formula, x, 0.0f, row_scale))) {
                continue;
            }
            store(&one, any_value(a.formula, table, p, row_scale, x, met));
        }
        image[p] = one;
    }
}

// Fours of a row from number `from` on, every step-th.
template <bool scales, class O>
__device__ void fold_row(const Library<O>& a, const LogTable& table, const float* row, float row_scale, O* image,
                         int from, int step, Met& met) {
    for (int first = from * columns - behind_boundary(image); first < a.n_pixels; first += step * columns) {
        const bool whole = first >= 0 && first + columns <= a.n_slots;
        if (!whole && first >= a.n_slots && first + columns <= a.n_pixels) {
            store_once(reinterpret_cast<Words<O, columns>*>(image + first), Words<O, columns>{});
            continue;
        }
        bool irregular = false;
        if (whole) {
            float x[columns];
            gather_four(a, row, first, x);
            Words<O, columns> four;
#pragma unroll
            for (int k = 0; k < columns; ++k) {
                const Lifted lifted = lift<Steps::row>(a.formula, x[k], 0.0f, row_scale);
                const bool odd = is_irregular<Steps::row>(a.formula, x[k], lifted);
                irregular = irregular || odd;
                const float shift = scales ? a.formula.shift[first + k] : 0.0f;
                const float scale = scales ? a.formula.scale[first + k] : 1.0f;
                store(&four.of[k],
                      regular<scales ? Steps::log_scale : Steps::log>(a.formula, table, lifted.argument, shift, scale));
            }
            store_once(reinterpret_cast<Words<O, columns>*>(image + first), four);
        }
        if (irregular || !whole) {
            one_by_one(a, table, row, row_scale, first, !whole, image, met);
        }
    }
}

template <bool scales, class O>
__global__ void __launch_bounds__(threads, 1) fold_summed(const Library<O> a) {
    float* memory = dynamic_shared<float>();
    __shared__ LogTable table;
    __shared__ CopyBarrier full[depth];    // the row is there
    __shared__ CopyBarrier added[depth];   // so are the sums of its runs
    __shared__ CopyBarrier scaled[depth];  // and its row scale
    __shared__ CopyBarrier empty[depth];   // the row has been folded
    __shared__ int behind[depth];          // floats of a row's place before the row
    __shared__ double sums[depth][most_runs];
    __shared__ float row_scale[depth];
    const int t = static_cast<int>(threadIdx.x);
    const int warp = t / static_cast<int>(warp_threads);
    const bool leads = threadIdx.x % warp_threads == 0;
    const int folding = n_warps - 1 - a.n_runs;  // warps; then those that add, then the one that copies
    if (t < depth) {
        expect_arrivals(full[t], copy_arrivals());
        expect_arrivals(added[t], static_cast<unsigned>(a.n_runs));
        expect_arrivals(scaled[t], 1);
        expect_arrivals(empty[t], static_cast<unsigned>(folding));
    }
    share(a.table, table);
    Met met;
    unsigned phase = 0;
    int slot = 0;
    for (int i = static_cast<int>(blockIdx.x); i < a.n_samples; i += static_cast<int>(gridDim.x)) {
        float* place = memory + slot * a.place;
        if (warp == n_warps - 1) {
            const float* from = row_of(a, i);
            const int before = (columns - floats_to_boundary(from)) % columns;
            wait_for(empty[slot], phase ^ 1u);
            if (leads) {
                behind[slot] = before;
            }
            copy_row(place + before, from, a.n_features, threadIdx.x % warp_threads, full[slot]);
        } else if (warp >= folding) {
            wait_for(full[slot], phase);
            const int run = warp - folding;
            const int start = run * static_cast<int>(warp_run);
            const int left = a.n_features - start;
            const double sum =
                sum_of_run(place + behind[slot] + start,
                           left < static_cast<int>(warp_run) ? left : static_cast<int>(warp_run), a.together);
            if (leads) {
                sums[slot][run] = sum;
                arrive(added[slot]);
            }
            if (run == 0) {
                wait_for(added[slot], phase);
                if (leads) {
                    double all = 0.0;
                    for (int k = 0; k < a.n_runs; ++k) {
                        all += sums[slot][k];
                    }
                    row_scale[slot] = all > 0.0 ? static_cast<float>(a.library_size / all) : 0.0f;
                    arrive(scaled[slot]);
                }
            }
        } else {
            wait_for(full[slot], phase);
            wait_for(scaled[slot], phase);
            fold_row<scales>(a, table, place + behind[slot], row_scale[slot],
                             a.out + static_cast<std::int64_t>(i) * a.n_pixels, t,
                             folding * static_cast<int>(warp_threads), met);
            __syncwarp();
            if (leads) {
                arrive(empty[slot]);
            }
        }
        slot = slot + 1 == depth ? 0 : slot + 1;
        phase ^= slot == 0 ? 1u : 0u;
    }
    add_counts({met.missing, met.negative}, a.counts);
}

std::int64_t place_of(std::int64_t n_features) { return (n_features + columns - 1 + columns - 1) / columns * columns; }

template <bool scales, class O>
void start(const Library<O>& a, void* stream) {
    const auto kernel = fold_summed<scales, O>;
    const auto shared = static_cast<std::size_t>(depth * a.place) * sizeof(float);
    const std::int64_t at_once = blocks_at_once(kernel, threads, shared);
    const std::int64_t blocks = a.n_samples < at_once ? a.n_samples : at_once;
    launch(kernel, blocks_for(blocks < 1 ? 1 : blocks), threads, shared, stream, a);
}

}  // namespace

bool fits_library(const DenseView& x, const Slots& slots, const NormalizeParameters& p) {
    constexpr std::int64_t element = sizeof(float);
    const std::int64_t bytes = depth * place_of(x.n_features) * element + other_shared_bytes;
    return x.dtype == DType::f32 && x.feature_stride == element && slots.one_to_one && slots.first_slot == nullptr &&
           p.normalise && p.log && p.offset == nullptr && x.n_features > 0 && slots.n_slots == x.n_features &&
           (x.sample_stride >= element || x.sample_stride <= -element) && slots.n_pixels <= most &&
           x.n_samples <= most && bytes <= card().shared_bytes && x.n_features <= most_runs * warp_run;
}

bool is_library(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters) {
    return x.n_features >= least_features && fits_library(x, slots, parameters) &&
           x.n_samples >= card().multiprocessors;
}

void fold_library(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters, double library_size,
                  FoldOutput out, unsigned long long* counts, void* stream) {
    const bool wide = reads_together(x.data, x.feature_stride, x.sample_stride, sizeof(float));
    with_output(out.dtype, out.data, [&](auto* images) {
        using O = std::remove_pointer_t<decltype(images)>;
        const Library<O> a{static_cast<const char*>(x.data),
                           x.sample_stride,
                           images,
                           static_cast<int>(x.n_samples),
                           static_cast<int>(x.n_features),
                           static_cast<int>(slots.n_pixels),
                           static_cast<int>(slots.n_slots),
                           static_cast<int>(place_of(x.n_features)),
                           static_cast<int>((x.n_features + warp_run - 1) / warp_run),
                           wide ? columns : 1,
                           library_size,
                           slots.feature,
                           Formula<float>(parameters),
                           log_table(),
                           counts};
        parameters.scale != nullptr ? start<true>(a, stream) : start<false>(a, stream);
    });
}

}  // namespace pixfold::cuda
