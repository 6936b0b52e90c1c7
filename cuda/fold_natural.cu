// A block takes every fourth sample of sixteen. Row i of a matrix of 4-byte elements begins at an address modulo 16
// that depends on i modulo 4 alone, so a block's rows begin alike, in and out: a thread's four pixels are one aligned
// store, and its four values one, two or three loads, chosen once for the block.
//
// The loop over them knows regular values alone. One comparison finds the others (NaN, and what has no regular
// logarithm); the thread folds those again afterwards, one by one from memory to memory, so that neither calls nor
// counters take registers from the loop. The edges of a row go the same way.
#include "counts.hpp"
#include "fold_natural.hpp"
#include "launch.hpp"
#include "math/elements.hpp"
#include "regular.hpp"
#include "words.hpp"

namespace pixfold::cuda {
namespace {

constexpr int rows_at_once = 4;  // of a block
constexpr int unit_rows = row_period * rows_at_once;
constexpr int natural_threads = 128;
// Blocks of a multiprocessor, so that nothing spills: 64 registers of a thread, or 80 or 96 from compute
// capability 10.0 on, where the compiler keeps more addresses.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
template <Steps steps>
constexpr int natural_blocks = steps == Steps::general ? 5 : 6;
#else
template <Steps steps>
constexpr int natural_blocks = 8;
#endif
constexpr std::int64_t natural_tile = natural_threads * columns;

template <class O>
struct Natural {
    const char* data;
    const std::int64_t* sample_offset;  // null: samples are sample_stride apart
    std::int64_t sample_stride;
    O* out;
    std::int64_t n_samples;
    std::int64_t n_features;
    std::int64_t n_pixels;
    std::int64_t n_tiles;
    std::int64_t n_units;
    Formula<float> formula;
    LogTable table;
    const double* row_scale;
    unsigned long long* counts;
};

template <class O>
__device__ const float* row_of(const Natural<O>& a, std::int64_t i) {
    return reinterpret_cast<const float*>(a.data +
                                          (a.sample_offset != nullptr ? a.sample_offset[i] : i * a.sample_stride));
}

template <class O>
__device__ float scale_of_row(const Natural<O>& a, std::int64_t i) {
    return a.row_scale != nullptr ? static_cast<float>(a.row_scale[i]) : 1.0f;
}

// Parameters of a thread's columns.
struct Four {
    float offset[columns];
    float shift[columns];
    float scale[columns];
};

template <Steps steps, class O>
__device__ Four parameters_at(const Natural<O>& a, std::int64_t first) {
    Four p{};
    const Formula<float>& f = a.formula;
#pragma unroll
    for (int k = 0; k < columns; ++k) {
        if constexpr (steps == Steps::general) {
            const SlotParameters<float> one = parameters_of(f, static_cast<std::int32_t>(first + k));
            p.offset[k] = one.offset;
            p.shift[k] = one.shift;
            p.scale[k] = one.scale;
        } else if constexpr (has_scale<steps>) {
            p.shift[k] = f.shift[first + k];
            p.scale[k] = f.scale[first + k];
        }
    }
    return p;
}

// Where a thread stands: its first column, which may lie before the row, and the rows of its unit.
struct Place {
    std::int64_t row;
    int rows;
    std::int64_t first;
};

// Rows whose fours all lie alike. Whether any value is irregular.
template <Steps steps, Fours fours, class O>
__device__ bool fold_rows(const Natural<O>& a, const LogTable& table, const Place& at, const Four& p, Met& met) {
    const Formula<float>& f = a.formula;
    float x[rows_at_once][columns];
#pragma unroll
    for (int u = 0; u < rows_at_once; ++u) {
        if (u < at.rows) {
            load_four<fours>(row_of(a, at.row + u * row_period) + at.first, x[u]);
        }
    }
    bool irregular = false;
#pragma unroll
    for (int u = 0; u < rows_at_once; ++u) {
        if (u < at.rows) {
            const std::int64_t i = at.row + u * row_period;
            const float row_scale = steps == Steps::general ? scale_of_row(a, i) : 1.0f;
            Words<O, columns> image;
#pragma unroll
            for (int k = 0; k < columns; ++k) {
                float y = x[u][k];
                if constexpr (steps != Steps::copy) {
                    const Lifted lifted = lift<steps>(f, x[u][k], p.offset[k], row_scale);
                    const bool odd = is_irregular<steps>(f, x[u][k], lifted);
                    irregular = irregular || odd;
                    if (!takes_log<steps>(f)) {
                        met.negative += lifted.value < 0.0f ? 1u : 0u;
                    }
                    y = regular<steps>(f, table, lifted.argument, p.shift[k], p.scale[k]);
                }
                store(&image.of[k], y);
            }
            store_once(reinterpret_cast<Words<O, columns>*>(a.out + i * a.n_pixels + at.first), image);
        }
    }
    return irregular;
}

// A thread's values one by one, with the formula of all others: those that are irregular, or all.
template <Steps steps, class O>
__device__ void fold_rest(const Natural<O>& a, const LogTable& table, const Place& at, bool all, Met& met) {
    const Formula<float>& f = a.formula;
#pragma unroll 1
    for (int v = 0; v < at.rows * columns; ++v) {
        const std::int64_t i = at.row + v / columns * row_period;
        const std::int64_t j = at.first + v % columns;
        if (j < 0 || j >= a.n_pixels) {
            continue;
        }
        O image{};
        if (j < a.n_features) {
            const float x = row_of(a, i)[j];
            if constexpr (steps == Steps::copy) {
                store(&image, x);
            } else {
                const float row_scale = steps == Steps::general ? scale_of_row(a, i) : 1.0f;
                const float offset = f.offset != nullptr ? f.offset[j] : 0.0f;
                if (!all && !is_irregular<steps>(f, x, lift<steps>(f, x, offset, row_scale))) {
                    continue;
                }
                Met here;
                store(&image, normalise_one(f, table, static_cast<std::int32_t>(j), row_scale, x, here));
                met.missing += here.missing;
                // Those of a whole four are counted by the loop.
                met.negative += all || takes_log<steps>(f) ? here.negative : 0u;
            }
        }
        a.out[i * a.n_pixels + j] = image;
    }
}

template <Steps steps, class O>
__global__ void __launch_bounds__(natural_threads, natural_blocks<steps>) fold_in_order(const Natural<O> a) {
    __shared__ LogTable table;
    share(a.table, table);
    Met met;
    for (std::int64_t unit = blockIdx.x; unit < a.n_units; unit += gridDim.x) {
        const std::int64_t rest = unit / a.n_tiles;
        Place at{rest / row_period * unit_rows + rest % row_period, 0, 0};
        if (at.row >= a.n_samples) {
            continue;
        }
        const std::int64_t left = (a.n_samples - at.row + row_period - 1) / row_period;
        at.rows = left < rows_at_once ? static_cast<int>(left) : rows_at_once;
        at.first = unit % a.n_tiles * natural_tile + static_cast<std::int64_t>(threadIdx.x) * columns -
                   behind_boundary(a.out + at.row * a.n_pixels);
        if (at.first >= 0 && at.first + columns <= a.n_features) {
            const Four p = parameters_at<steps>(a, at.first);
            bool irregular = false;
            switch (fours_at(row_of(a, at.row) + at.first)) {
                case Fours::whole:
                    irregular = fold_rows<steps, Fours::whole>(a, table, at, p, met);
                    break;
                case Fours::halves:
                    irregular = fold_rows<steps, Fours::halves>(a, table, at, p, met);
                    break;
                default:
                    irregular = fold_rows<steps, Fours::odd>(a, table, at, p, met);
            }
            if (irregular) {
                fold_rest<steps>(a, table, at, false, met);
            }
        } else if (at.first >= a.n_features && at.first + columns <= a.n_pixels) {
            for (int u = 0; u < at.rows; ++u) {
                O* to = a.out + (at.row + u * row_period) * a.n_pixels + at.first;
                store_once(reinterpret_cast<Words<O, columns>*>(to), Words<O, columns>{});
            }
        } else {
            fold_rest<steps>(a, table, at, true, met);
        }
    }
    add_counts({met.missing, met.negative}, a.counts);
}

template <class O>
auto kernel_of(const NormalizeParameters& p) {
    const bool floor = p.clip_below_zero && !p.log;  // under a logarithm what is below 0 is irregular
    if (!p.normalise) {
        return fold_in_order<Steps::copy, O>;
    }
    if (p.offset != nullptr || p.row_scale != nullptr || floor) {
        return fold_in_order<Steps::general, O>;
    }
    if (p.log) {
        return p.scale != nullptr ? fold_in_order<Steps::log_scale, O> : fold_in_order<Steps::log, O>;
    }
    return p.scale != nullptr ? fold_in_order<Steps::scale, O> : fold_in_order<Steps::clip, O>;
}

}  // namespace

bool is_natural(const DenseView& x, const Slots& slots, const std::int64_t* sample_offset) {
    constexpr std::int64_t element = sizeof(float);
    return x.dtype == DType::f32 && x.feature_stride == element && slots.one_to_one && slots.feature == nullptr &&
           slots.first_slot == nullptr && (sample_offset == nullptr || x.sample_stride % (columns * element) == 0);
}

void fold_natural(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters, FoldOutput out,
                  unsigned long long* counts, void* stream, const std::int64_t* sample_offset) {
    with_output(out.dtype, out.data, [&](auto* images) {
        using O = std::remove_pointer_t<decltype(images)>;
        constexpr auto pixel = static_cast<std::int64_t>(sizeof(O));
        const bool aligned =
            slots.n_pixels % columns == 0 &&
            reinterpret_cast<std::uintptr_t>(images) % static_cast<std::uintptr_t>(columns * pixel) == 0;
        // Columns of unaligned rows begin up to three before the row.
        const std::int64_t widest = slots.n_pixels + (aligned ? 0 : columns - 1);
        const std::int64_t n_tiles = (widest + natural_tile - 1) / natural_tile;
        const std::int64_t n_units = n_tiles * row_period * ((x.n_samples + unit_rows - 1) / unit_rows);
        const Natural<O> folding{static_cast<const char*>(x.data),
                                 sample_offset,
                                 x.sample_stride,
                                 images,
                                 x.n_samples,
                                 slots.n_slots,
                                 slots.n_pixels,
                                 n_tiles,
                                 n_units,
                                 Formula<float>(parameters),
                                 log_table(),
                                 parameters.row_scale,
                                 counts};
        launch(kernel_of<O>(parameters), blocks_for(n_units), natural_threads, 0, stream, folding);
    });
}

}  // namespace pixfold::cuda
