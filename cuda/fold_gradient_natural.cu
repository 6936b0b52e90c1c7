// As fold_natural.cu: rows four apart begin alike, so that a thread's four results are one aligned store, and its four
// values and their gradients a few loads each. Where a result may be clipped and a logarithm is taken, one comparison
// finds the values whose logarithm is not regular; the thread does those again afterwards, from memory to memory.
#include "differentiate.hpp"
#include "fold_gradient_natural.hpp"
#include "fours.hpp"
#include "launch.hpp"
#include "words.hpp"

namespace pixfold::cuda {
namespace {

constexpr int rows_at_once = 2;  // whose loads are in flight together
constexpr int steps = 2;         // of a unit
constexpr int unit_rows = row_period * rows_at_once * steps;
constexpr int natural_threads = 128;
constexpr int natural_blocks = 8;  // per multiprocessor: 64 registers
constexpr std::int64_t natural_tile = natural_threads * columns;

template <class G>
struct Natural {
    const char* data;
    std::int64_t sample_stride;
    const G* gradient;
    DType gradient_dtype;
    float* out;
    std::int64_t n_samples;
    std::int64_t n_features;
    std::int64_t n_pixels;
    std::int64_t n_tiles;
    std::int64_t n_units;
    Formula<float> formula;
    LogTable table;
};

// Whether a result depends on a logarithm that the loop cannot take.
template <bool log>
__device__ bool is_irregular(const Formula<float>& f, float argument) {
    return log && f.clips() && std::bit_cast<std::uint32_t>(argument) >= regular_limit32;
}

// D of the contract, of a value whose logarithm, if it matters, is regular.
template <bool log>
__device__ float regular(const Formula<float>& f, const LogTable& table, const SlotParameters<float>& p, float x,
                         float argument, float gradient) {
    float d = gradient;
    bool still = is_still(x, argument, f.floor());
    if (f.scale != nullptr) {
        d = through_scale(d, p.scale);
        still = still || p.scale == 0.0f;
    }
    if constexpr (log) {
        d = through_log1p(d, argument);
    }
    d = still ? 0.0f : d;
    if (f.clips()) {
        float y = log ? log1p_by_table(argument, SharedTable{table}) : at_least(f.floor(), argument);
        y = f.scale != nullptr ? (y - p.shift) * p.scale : y;
        d = unless_clipped(d, y, f.lo, f.hi);
    }
    return d;
}

struct Place {
    std::int64_t row;
    int rows;
    std::int64_t first;
};

template <class G>
__device__ const float* row_of(const Natural<G>& a, std::int64_t i) {
    return reinterpret_cast<const float*>(a.data + i * a.sample_stride);
}

// Whether any value is irregular.
template <bool log, class G>
__device__ bool whole_fours(const Natural<G>& a, const LogTable& table, const Place& at,
                            const SlotParameters<float> (&p)[columns]) {
    bool irregular = false;
    float x[rows_at_once][columns];
    G images[rows_at_once][columns];
#pragma unroll
    for (int u = 0; u < rows_at_once; ++u) {
        if (u < at.rows) {
            const std::int64_t i = at.row + u * row_period;
            load_four(row_of(a, i) + at.first, x[u]);
            load_four(a.gradient + i * a.n_pixels + at.first, images[u]);
        }
    }
#pragma unroll
    for (int u = 0; u < rows_at_once; ++u) {
        if (u < at.rows) {
            float gradient[columns];
            decode(a.gradient_dtype, images[u], gradient);
            Words<float, columns> out;
#pragma unroll
            for (int k = 0; k < columns; ++k) {
                const float argument = a.formula.offset != nullptr ? x[u][k] + p[k].offset : x[u][k];
                irregular = is_irregular<log>(a.formula, argument) || irregular;
                out.of[k] = regular<log>(a.formula, table, p[k], x[u][k], argument, gradient[k]);
            }
            float* to = a.out + (at.row + u * row_period) * a.n_features + at.first;
            store_once(reinterpret_cast<Words<float, columns>*>(to), out);
        }
    }
    return irregular;
}

// One by one, as other layouts: those that are irregular, or all.
template <bool log, class G>
__device__ void one_by_one(const Natural<G>& a, const LogTable& table, const Place& at, bool all) {
#pragma unroll 1
    for (int v = 0; v < at.rows * columns; ++v) {
        const std::int64_t i = at.row + v / columns * row_period;
        const std::int64_t j = at.first + v % columns;
        if (j < 0 || j >= a.n_features) {
            continue;
        }
        const SlotParameters<float> p[1] = {parameters_of(a.formula, static_cast<std::int32_t>(j))};
        const float x[1] = {row_of(a, i)[j]};
        if (!all && !is_irregular<log>(a.formula, a.formula.offset != nullptr ? x[0] + p[0].offset : x[0])) {
            continue;
        }
        const G image[1] = {a.gradient[i * a.n_pixels + j]};
        const float one[1] = {1.0f};
        float lifted[1];
        float derivative[1];
        arriving(a.gradient_dtype, image, false, one, derivative);
        differentiate(a.formula, table, p, one, x, lifted, derivative);
        a.out[i * a.n_features + j] = derivative[0];
    }
}

template <bool log, class G>
__global__ void __launch_bounds__(natural_threads, natural_blocks) gradient_in_order(const Natural<G> a) {
    __shared__ LogTable table;
    share(a.table, table);
    for (std::int64_t unit = blockIdx.x; unit < a.n_units; unit += gridDim.x) {
        const std::int64_t rest = unit / a.n_tiles;
        const std::int64_t row = rest / row_period * unit_rows + rest % row_period;
        if (row >= a.n_samples) {
            continue;
        }
        Place at{row, 0, 0};
        at.first = unit % a.n_tiles * natural_tile + static_cast<std::int64_t>(threadIdx.x) * columns -
                   behind_boundary(a.out + row * a.n_features);
        const bool whole = at.first >= 0 && at.first + columns <= a.n_features;
        SlotParameters<float> p[columns] = {};
        if (whole) {
#pragma unroll
            for (int k = 0; k < columns; ++k) {
                p[k] = parameters_of(a.formula, static_cast<std::int32_t>(at.first + k));
            }
        }
#pragma unroll 1
        for (int step = 0; step < steps && at.row < a.n_samples; ++step, at.row += row_period * rows_at_once) {
            const std::int64_t left = (a.n_samples - at.row + row_period - 1) / row_period;
            at.rows = left < rows_at_once ? static_cast<int>(left) : rows_at_once;
            if (!whole) {
                one_by_one<log>(a, table, at, true);
            } else if (whole_fours<log>(a, table, at, p)) {
                one_by_one<log>(a, table, at, false);
            }
        }
    }
}

template <class G>
void gradient_of(const FoldGradientArguments& a, void* stream) {
    auto* out = static_cast<float*>(a.out);
    const bool aligned =
        a.x.n_features % columns == 0 && reinterpret_cast<std::uintptr_t>(out) % (columns * sizeof(float)) == 0;
    // Columns of unaligned rows begin up to three before the row.
    const std::int64_t n_tiles = (a.x.n_features + (aligned ? 0 : columns - 1) + natural_tile - 1) / natural_tile;
    const std::int64_t n_units = n_tiles * row_period * ((a.x.n_samples + unit_rows - 1) / unit_rows);
    const Natural<G> job{static_cast<const char*>(a.x.data),
                         a.x.sample_stride,
                         static_cast<const G*>(a.gradient.data),
                         a.gradient.dtype,
                         out,
                         a.x.n_samples,
                         a.x.n_features,
                         a.slots.n_pixels,
                         n_tiles,
                         n_units,
                         Formula<float>(a.parameters),
                         log_table()};
    launch(a.parameters.log ? gradient_in_order<true, G> : gradient_in_order<false, G>, blocks_for(n_units),
           natural_threads, 0, stream, job);
}

}  // namespace

bool is_natural_gradient(const FoldGradientArguments& a) {
    return a.x.dtype == DType::f32 && a.x.feature_stride == sizeof(float) && a.parameters.normalise &&
           a.parameters.row_scale == nullptr && a.slots.one_to_one && a.slot_of_feature == nullptr &&
           a.pixel_of_feature == nullptr;
}

void fold_gradient_natural(const FoldGradientArguments& a, void* stream) {
    if (a.gradient.dtype == DType::f32) {
        gradient_of<std::uint32_t>(a, stream);
    } else {
        gradient_of<std::uint16_t>(a, stream);
    }
}

}  // namespace pixfold::cuda
