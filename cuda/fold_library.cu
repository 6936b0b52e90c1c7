// A block goes through rows that lie whole in shared memory, two deep. One warp has them copied; some add one up, each
// a run of it, while the others fold the row before. Those take fours of pixels, aligned in the image.
//
// The loop over the fours knows regular values alone (regular.hpp); the others are folded again from the row while it
// is there.
#include "card.hpp"
#include "counts.hpp"
#include "fold_library.hpp"
#include "launch.hpp"
#include "regular.hpp"
#include "summed_rows.hpp"
#include "words.hpp"

namespace pixfold::cuda {
namespace {

constexpr int depth = summed_depth;
constexpr unsigned threads = 1024;
constexpr int n_warps = static_cast<int>(threads / warp_threads);
static_assert(2 * most_added_runs <= n_warps);

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

// Four values of a row in shared memory.
template <class O>
__device__ void gather_four(const Library<O>& a, const float* row, int first, float (&x)[columns]) {
    if (a.feature != nullptr) {
#pragma unroll
        for (int k = 0; k < columns; ++k) {
            x[k] = row[a.feature[first + k]];
        }
    } else {
        get_four(row + first, x);
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
    __shared__ CopyBarrier full[depth];   // the row is there
    __shared__ CopyBarrier empty[depth];  // the row has been folded
    __shared__ int behind[depth];         // floats of a row's place before the row
    __shared__ RowSum<float> sums[depth];
    const int t = static_cast<int>(threadIdx.x);
    const int warp = t / static_cast<int>(warp_threads);
    const bool leads = threadIdx.x % warp_threads == 0;
    const int folding = n_warps - 1 - a.n_runs;  // warps; then those that add, then the one that copies
    if (t < depth) {
        expect_arrivals(full[t], copy_arrivals());
        expect_arrivals(sums[t].added, static_cast<unsigned>(a.n_runs));
        expect_arrivals(sums[t].scaled, 1);
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
            const int before = from_boundary(from);
            wait_for(empty[slot], phase ^ 1u);
            if (leads) {
                behind[slot] = before;
            }
            copy_row(place + before, from, a.n_features, threadIdx.x % warp_threads, full[slot]);
        } else if (warp >= folding) {
            wait_for(full[slot], phase);
            add_row(place + behind[slot], a.n_features, a.together, warp - folding, a.n_runs, a.library_size, phase,
                    sums[slot]);
        } else {
            wait_for(full[slot], phase);
            wait_for(sums[slot].scaled, phase);
            fold_row<scales>(a, table, place + behind[slot], sums[slot].row_scale,
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
    return fits_summed(x, slots.n_pixels, card().shared_bytes) && slots.one_to_one && slots.first_slot == nullptr &&
           slots.n_slots == x.n_features && p.normalise && p.log && p.offset == nullptr;
}

bool is_library(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters) {
    return x.n_features >= least_summed_features && fits_library(x, slots, parameters) &&
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
                           static_cast<int>(summed_place(x.n_features)),
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
