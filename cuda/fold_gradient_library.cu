// As fold_library.cu: a block goes through rows that lie whole in shared memory, two deep; a warp has them copied, some
// add one up, and the others differentiate the row before. A warp of those takes a run of the slots: it reads the
// gradient in the order of the pixels, each value's derivative takes the value's place in the row, and their sum is
// that of the CPU, addition by addition. When all runs of the row are through, the row is the derivatives in the order
// of the features, and goes out in aligned fours. So samples and gradient are read once, each in its own order.
//
// A missing value leaves a mark in its place: nothing is known of it later but that it gets 0.
#include "card.hpp"
#include "differentiate.hpp"
#include "fold_gradient_library.hpp"
#include "launch.hpp"
#include "summed_rows.hpp"
#include "words.hpp"

namespace pixfold::cuda {
namespace {

constexpr int depth = summed_depth;
constexpr unsigned most_threads = 896;  // 72 registers for each: nothing spills
constexpr int most_warps = static_cast<int>(most_threads / warp_threads);
constexpr int at_once = 4;  // values of a thread whose loads are in flight together

constexpr int slots_of_run = static_cast<int>(sum_run);
constexpr int most_runs = most_added_runs * static_cast<int>(warp_run / sum_run);
constexpr int half_warp = static_cast<int>(sum_lanes);
static_assert(2 * sum_lanes == warp_threads && sum_run % (at_once * warp_threads) == 0);

// A NaN that stands for a missing value. A derivative of these bits gets the next ones, and is as little a number.
constexpr std::uint32_t missing = 0x7fc5a5a5u;

template <class G>
struct Library {
    const char* data;
    std::int64_t sample_stride;
    const G* gradient;
    DType gradient_dtype;
    float* out;
    std::int64_t n_pixels;
    int n_samples;
    int n_features;
    int place;     // floats of a row's place in shared memory
    int n_runs;    // of the slots
    int working;   // warps that take these
    int n_added;   // runs of a row that is added up, each by a warp
    int together;  // values that a lane adds up side by side
    double library_size;
    const std::int32_t* feature;  // [n_features], of each slot; null: in order
    const std::int32_t* pixel;    // [n_features], of each feature; null: pixel k is that of slot k
    Formula<float> formula;
    LogTable table;
};

template <class G>
__device__ const float* row_of(const Library<G>& a, int i) {
    return reinterpret_cast<const float*>(a.data + i * a.sample_stride);
}

// y[k] = what fold makes of argument[k] before it clips it.
template <bool log>
__device__ void unclipped(const Formula<float>& f, const LogTable& table, const SlotParameters<float> (&p)[at_once],
                          const float (&argument)[at_once], float (&y)[at_once]) {
    bool irregular = false;
#pragma unroll
    for (int k = 0; k < at_once; ++k) {
        y[k] = at_least(f.floor(), argument[k]);
        irregular = irregular || std::bit_cast<std::uint32_t>(y[k]) >= regular_limit32;
    }
    if constexpr (log) {
        float logarithm[at_once];
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
            logarithm[k] = log1p_by_table(y[k], SharedTable{table});
        }
        if (irregular) {
            // One by one, and without a call: either would take registers from what is regular.
#pragma unroll 1
            for (int one = 0; one < at_once; ++one) {
                float of = 0.0f;
#pragma unroll
                for (int k = 0; k < at_once; ++k) {
                    of = k == one ? y[k] : of;
                }
                if (std::bit_cast<std::uint32_t>(of) < regular_limit32) {
                    continue;
                }
                of = log1p_irregular(of);
#pragma unroll
                for (int k = 0; k < at_once; ++k) {
                    logarithm[k] = k == one ? of : logarithm[k];
                }
            }
        }
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
            y[k] = logarithm[k];
        }
    }
    if (f.scale != nullptr) {
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
            y[k] = (y[k] - p[k].shift) * p[k].scale;
        }
    }
}

// A warp's run of the slots of a row: derivatives go to the places of their values. Its sum, in all lanes.
template <bool log, class G>
__device__ double differentiate_run(const Library<G>& a, const LogTable& table, const G* image, float row_scale,
                                    int run, float* row) {
    const Formula<float>& f = a.formula;
    const int lane = static_cast<int>(threadIdx.x % warp_threads);
    const int end = (run + 1) * slots_of_run < a.n_features ? (run + 1) * slots_of_run : a.n_features;
    double sum = 0.0;
#pragma unroll 1
    for (int first = run * slots_of_run; first < end; first += at_once * static_cast<int>(warp_threads)) {
        int feature[at_once];
        G images[at_once];
        SlotParameters<float> p[at_once];
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
            const int slot = first + k * static_cast<int>(warp_threads) + lane;
            feature[k] = slot >= end ? -1 : a.feature != nullptr ? a.feature[slot] : slot;
            p[k] = parameters_of(f, slot < end ? slot : -1);
            images[k] = slot >= end ? G{0} : image[a.pixel != nullptr ? a.pixel[feature[k]] : slot];
        }
        float derivative[at_once];
        float lifted[at_once];
        float argument[at_once];
        bool is_missing[at_once];
        decode(a.gradient_dtype, images, derivative);
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
            const float x = feature[k] >= 0 ? row[feature[k]] : 0.0f;
            lifted[k] = f.offset != nullptr ? x + p[k].offset : x;
            argument[k] = lifted[k] * row_scale;
            is_missing[k] = x != x;
            bool still = is_still(x, argument[k], f.floor());
            if (f.scale != nullptr) {
                derivative[k] = through_scale(derivative[k], p[k].scale);
                still = still || p[k].scale == 0.0f;
            }
            if constexpr (log) {
                derivative[k] = through_log1p(derivative[k], argument[k]);
            }
            derivative[k] = still ? 0.0f : derivative[k];
        }
        if (f.clips()) {
            float y[at_once];
            unclipped<log>(f, table, p, argument, y);
#pragma unroll
            for (int k = 0; k < at_once; ++k) {
                derivative[k] = unless_clipped(derivative[k], y[k], f.lo, f.hi);
            }
        }
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
            // Both halves of the warp have values of the same sums: of slots that are one after the other in them.
            const double moved = feature[k] >= 0 ? moved_through_sum(derivative[k], lifted[k]) : 0.0;
            const double next = __shfl_down_sync(whole_warp, moved, half_warp);
            sum += moved;
            sum += next;
            if (feature[k] >= 0) {
                std::uint32_t kept = std::bit_cast<std::uint32_t>(derivative[k]);
                kept += kept == missing ? 1u : 0u;
                if (is_missing[k]) {
                    kept = missing;
                }
                row[feature[k]] = std::bit_cast<float>(kept);
            }
        }
    }
    double total = 0.0;
    for (int from = 0; from < half_warp; ++from) {
        total += __shfl_sync(whole_warp, sum, from);
    }
    return total;
}

// What the values of a sample share.
__device__ inline float common_of_row(const double* runs, int n_runs, double row_scale, double library_size) {
    double sum = 0.0;
    for (int run = 0; run < n_runs; ++run) {
        sum += runs[run];
    }
    return static_cast<float>(common_of(row_scale, library_size, sum));
}

// The derivatives of a row, through their sample's sum, to memory; `scaled`: the row scale is not 0.
template <class G>
__device__ void write_row(const Library<G>& a, const float* row, bool scaled, float row_scale, float common,
                          float* out) {
    const auto result = [&](float derivative) {
        const bool still = !scaled || std::bit_cast<std::uint32_t>(derivative) == missing;
        return still ? 0.0f : with_common(0.0f, derivative, row_scale, common);
    };
    const int step = a.working * static_cast<int>(warp_threads) * columns;
    for (int first = static_cast<int>(threadIdx.x) * columns - behind_boundary(out); first < a.n_features;
         first += step) {
        if (first >= 0 && first + columns <= a.n_features) {
            float derivative[columns];
            get_four(row + first, derivative);
            Words<float, columns> four;
#pragma unroll
            for (int k = 0; k < columns; ++k) {
                four.of[k] = result(derivative[k]);
            }
            store_once(reinterpret_cast<Words<float, columns>*>(out + first), four);
            continue;
        }
#pragma unroll 1
        for (int j = first < 0 ? 0 : first; j < first + columns && j < a.n_features; ++j) {
            out[j] = result(row[j]);
        }
    }
}

template <bool log, class G>
__global__ void __launch_bounds__(most_threads, 1) gradient_summed(const Library<G> a) {
    float* memory = dynamic_shared<float>();
    __shared__ LogTable table;
    __shared__ CopyBarrier full[depth];   // the row is there
    __shared__ CopyBarrier done[depth];   // it is derivatives
    __shared__ CopyBarrier empty[depth];  // which have been written
    __shared__ int behind[depth];         // floats of a row's place before the row
    __shared__ RowSum<double> sums[depth];
    __shared__ double runs[depth][most_runs];
    const int t = static_cast<int>(threadIdx.x);
    const int warp = t / static_cast<int>(warp_threads);
    const bool leads = threadIdx.x % warp_threads == 0;
    if (t < depth) {
        expect_arrivals(full[t], copy_arrivals());
        expect_arrivals(sums[t].added, static_cast<unsigned>(a.n_added));
        expect_arrivals(sums[t].scaled, 1);
        expect_arrivals(done[t], static_cast<unsigned>(a.working));
        expect_arrivals(empty[t], static_cast<unsigned>(a.working));
    }
    share(a.table, table);
    unsigned phase = 0;
    int slot = 0;
    for (int i = static_cast<int>(blockIdx.x); i < a.n_samples; i += static_cast<int>(gridDim.x)) {
        float* place = memory + slot * a.place;
        if (warp == a.working + a.n_added) {
            const float* from = row_of(a, i);
            const int before = from_boundary(from);
            wait_for(empty[slot], phase ^ 1u);
            if (leads) {
                behind[slot] = before;
            }
            copy_row(place + before, from, a.n_features, threadIdx.x % warp_threads, full[slot]);
        } else if (warp >= a.working) {
            wait_for(full[slot], phase);
            add_row(place + behind[slot], a.n_features, a.together, warp - a.working, a.n_added, a.library_size, phase,
                    sums[slot]);
        } else {
            wait_for(full[slot], phase);
            wait_for(sums[slot].scaled, phase);
            float* row = place + behind[slot];
            const double row_scale = sums[slot].row_scale;
            const G* image = a.gradient + i * a.n_pixels;
            for (int run = warp; run < a.n_runs && row_scale != 0.0; run += a.working) {
                const double sum = differentiate_run<log>(a, table, image, static_cast<float>(row_scale), run, row);
                if (leads) {
                    runs[slot][run] = sum;
                }
            }
            __syncwarp();
            if (leads) {
                arrive(done[slot]);
            }
            wait_for(done[slot], phase);
            const bool scaled = row_scale != 0.0;
            const float common = scaled ? common_of_row(runs[slot], a.n_runs, row_scale, a.library_size) : 0.0f;
            write_row(a, row, scaled, static_cast<float>(row_scale), common,
                      a.out + static_cast<std::int64_t>(i) * a.n_features);
            give_back();
            __syncwarp();
            if (leads) {
                arrive(empty[slot]);
            }
        }
        slot = slot + 1 == depth ? 0 : slot + 1;
        phase ^= slot == 0 ? 1u : 0u;
    }
}

template <class G>
void gradient_of(const FoldGradientArguments& a, void* stream) {
    const DenseView& x = a.x;
    const auto up = [](std::int64_t n, std::int64_t by) { return static_cast<int>((n + by - 1) / by); };
    const bool wide = reads_together(x.data, x.feature_stride, x.sample_stride, sizeof(float));
    const int n_runs = up(x.n_features, sum_run);
    const int n_added = up(x.n_features, warp_run);
    const int most_working = most_warps - 1 - n_added;
    const Library<G> job{static_cast<const char*>(x.data),
                         x.sample_stride,
                         static_cast<const G*>(a.gradient.data),
                         a.gradient.dtype,
                         static_cast<float*>(a.out),
                         a.slots.n_pixels,
                         static_cast<int>(x.n_samples),
                         static_cast<int>(x.n_features),
                         static_cast<int>(summed_place(x.n_features)),
                         n_runs,
                         n_runs < most_working ? n_runs : most_working,
                         n_added,
                         wide ? columns : 1,
                         a.library_size,
                         a.slots.feature,
                         a.slots.first_slot != nullptr ? a.pixel_of_feature : nullptr,
                         Formula<float>(a.parameters),
                         log_table()};
    const auto kernel = a.parameters.log ? gradient_summed<true, G> : gradient_summed<false, G>;
    const auto threads = static_cast<unsigned>(job.working + n_added + 1) * warp_threads;
    const auto shared = static_cast<std::size_t>(depth * job.place) * sizeof(float);
    const std::int64_t resident = blocks_at_once(kernel, threads, shared);
    const std::int64_t blocks = x.n_samples < resident ? x.n_samples : resident;
    launch(kernel, blocks_for(blocks < 1 ? 1 : blocks), threads, shared, stream, job);
}

}  // namespace

bool fits_library_gradient(const FoldGradientArguments& a) {
    return fits_summed(a.x, a.slots.n_pixels, card().shared_bytes) && a.parameters.normalise && a.slots.one_to_one &&
           a.slots.n_slots == a.x.n_features && (a.slots.first_slot == nullptr || a.pixel_of_feature != nullptr);
}

bool is_library_gradient(const FoldGradientArguments& a) {
    return a.x.n_features >= least_summed_features && fits_library_gradient(a) &&
           a.x.n_samples >= card().multiprocessors;
}

void fold_gradient_of_library(const FoldGradientArguments& a, void* stream) {
    if (a.gradient.dtype == DType::f32) {
        gradient_of<std::uint32_t>(a, stream);
    } else {
        gradient_of<std::uint16_t>(a, stream);
    }
}

}  // namespace pixfold::cuda
