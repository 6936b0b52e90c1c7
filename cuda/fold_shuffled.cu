// A block has a slice of the pixels for good: where their values lie in a row, and their parameters, stay in registers
// while it goes through the rows. One warp has the rows copied to shared memory, whole and two deep; the others gather
// from it, and wait for nobody but the copies. A thread's pixels are fours, aligned in the image, so a block takes rows
// whose images begin alike: every fourth, or a multiple of it.
//
// The loop knows regular values alone (regular.hpp). Missing ones get their fill while their row is there; other
// irregular ones, which take registers to fold, wait until the block is through with its rows, and come from memory.
#include <type_traits>

#include "async_copy.hpp"
#include "card.hpp"
#include "counts.hpp"
#include "fold_shuffled.hpp"
#include "launch.hpp"
#include "pixels.hpp"
#include "regular.hpp"
#include "words.hpp"

namespace pixfold::cuda {
namespace {

constexpr int depth = 2;  // rows in shared memory

// How many fours of pixels a thread has, and how many threads a block has at most, so that nothing spills: scale and
// shift of each pixel take registers, of which there are 64 for each of 1024 threads and 72 for each of 896.
template <Steps steps, bool shifts>
constexpr int fours_of = shifts             ? 3
                         : has_scale<steps> ? 4
                                            : 5;
template <Steps steps>
constexpr unsigned most_threads = has_scale<steps> ? 896 : 1024;

// Shorter rows are as well gathered from the caches, and fewer rows than multiprocessors leave some idle.
constexpr std::int64_t least_features = 4096;

// Numbers of rows and pixels are of 32 bits in the kernel.
constexpr std::int64_t most_pixels = std::int64_t{1} << 20;
constexpr std::int64_t most_rows = std::int64_t{1} << 30;

// Of a block, beside the rows.
constexpr std::int64_t other_shared_bytes = 2048;

// I: a word as it lies in a row, O: one of an image.
template <class I, class O>
struct Shuffled {
    const char* data;
    const std::int64_t* sample_offset;  // null: samples are sample_stride apart
    std::int64_t sample_stride;
    O* out;
    int n_samples;
    int n_features;
    int n_pixels;
    int place;     // words of a row's place in shared memory
    int n_slices;  // of the pixels
    int slice;     // pixels, a multiple of four
    int row_step;
    int n_units;                 // slices of every row_step-th row
    const std::int32_t* column;  // [n_pixels], or null: the slots say it
    Slots slots;
    Formula<float> formula;
    LogTable table;
    const double* row_scale;
    unsigned long long* counts;
};

template <class I, class O>
__device__ const I* row_of(const Shuffled<I, O>& a, std::int64_t i) {
    return reinterpret_cast<const I*>(a.data + (a.sample_offset != nullptr ? a.sample_offset[i] : i * a.sample_stride));
}

template <Steps steps, class I, class O>
__device__ float scale_of_row(const Shuffled<I, O>& a, int i) {
    return steps == Steps::row ? static_cast<float>(a.row_scale[i]) : 1.0f;
}

// A pixel's slot and feature, -1 where there is none.
struct Shown {
    std::int32_t slot;
    std::int32_t feature;
};

template <class I, class O>
__device__ Shown shown_at(const Shuffled<I, O>& a, int pixel, int end) {
    if (pixel < 0 || pixel >= end) {
        return {-1, -1};
    }
    if (a.column != nullptr) {
        const std::int32_t column = a.column[pixel];
        return {column, column};
    }
    const std::int32_t slot = slot_of(a.slots, pixel);
    return {slot, slot < 0 || a.slots.feature == nullptr ? slot : a.slots.feature[slot]};
}

// The first pixel of a unit's slice, up to three before the image: so that fours are aligned in it.
template <class I, class O>
__device__ int first_pixel(const Shuffled<I, O>& a, int unit) {
    const O* image = a.out + static_cast<std::int64_t>(unit / a.n_slices) * a.n_pixels;
    return unit % a.n_slices * a.slice - behind_boundary(image);
}

// Pixels of a warp lie side by side, four to a lane and then the next fours, so that a thread's are at constant
// distances: pixel k of one is so far behind its first.
__device__ constexpr int own_pixel(int k) {
    return k / columns * static_cast<int>(warp_threads) * columns + k % columns;
}

template <int fours>
__device__ int first_own_pixel() {
    const unsigned warp = threadIdx.x / warp_threads;
    return static_cast<int>((warp * fours * warp_threads + threadIdx.x % warp_threads) * columns);
}

// A word is moved as it is, a float rounded to a shorter type.
template <class I, class O>
__device__ void put(O* to, I value) {
    if constexpr (std::is_same_v<I, O>) {
        *to = value;
    } else {
        store(to, value);
    }
}

// What a thread's four pixels are: all with a feature, all in the slice and without one, or anything else.
enum Four : unsigned { whole = 0, blank = 1, mixed = 2 };

__device__ constexpr unsigned four_of(unsigned four, int q) { return four >> (2 * q) & 3u; }
__device__ constexpr bool any_mixed(unsigned four) { return (four & 0xaaaaaaaau) != 0; }

// What is left of a thread's pixels of a row: missing values of whole fours, and mixed ones. Whether there are
// irregular ones that are not missing, which are left still.
template <Steps steps, int fours, class I, class O>
__device__ bool fold_rest(const Shuffled<I, O>& a, const LogTable& table, int first, int end, unsigned four,
                          const I* row, float row_scale, O* image, Met& met) {
    bool others = false;
#pragma unroll 1
    for (int k = 0; k < fours * columns; ++k) {
        const int p = first + own_pixel(k);
        const bool alone = four_of(four, k / columns) == mixed;
        if (p < 0 || p >= end || four_of(four, k / columns) == blank) {
            continue;
        }
        const Shown shown = shown_at(a, p, end);
        if constexpr (steps == Steps::copy) {
            if (alone) {
                put(&image[own_pixel(k)], shown.feature >= 0 ? row[shown.feature] : I{0});
            }
        } else {
            const float x = shown.feature >= 0 ? row[shown.feature] : 0.0f;
            float y = x;
            if (shown.feature >= 0) {
                const Lifted lifted = lift<steps>(a.formula, x, 0.0f, row_scale);
                const bool missing = x != x;
                const bool odd = is_irregular<steps>(a.formula, x, lifted);
                others = others || (odd && !missing);
                if (missing) {
                    y = a.formula.fill[shown.slot];
                    ++met.missing;
                } else if (odd || !alone) {
                    continue;
                } else {
                    met.negative += x < 0.0f ? 1u : 0u;
                    const SlotParameters<float> one = parameters_of(a.formula, shown.slot);
                    y = regular<steps>(a.formula, table, lifted.argument, one.shift,
                                       a.formula.scale ? one.scale : 1.0f);
                }
            } else if (!alone) {
                continue;
            }
            store(&image[own_pixel(k)], y);
        }
    }
    return others;
}

constexpr int marks = 32;

// Folds what is irregular and not missing in the rows of a unit that are marked: bit r stands for every row that comes
// as number r modulo `marks`.
template <Steps steps, int fours, class I, class O>
__device__ void fold_irregular(const Shuffled<I, O>& a, const LogTable& table, int unit, int end, unsigned marked,
                               Met& met) {
    const int first = first_pixel(a, unit) + first_own_pixel<fours>();
    unsigned bit = 1;
#pragma unroll 1
    for (int i = unit / a.n_slices; i < a.n_samples; i += a.row_step, bit = bit << 1 | bit >> (marks - 1)) {
        if ((marked & bit) == 0) {
            continue;
        }
        const float row_scale = scale_of_row<steps>(a, i);
#pragma unroll 1
        for (int k = 0; k < fours * columns; ++k) {
            const int p = first + own_pixel(k);
            const Shown shown = shown_at(a, p, end);
            if (shown.feature < 0) {
                continue;
            }
            const float x = row_of(a, i)[shown.feature];
            if (x == x && is_irregular<steps>(a.formula, x, lift<steps>(a.formula, x, 0.0f, row_scale))) {
                store(&a.out[static_cast<std::int64_t>(i) * a.n_pixels + p],
                      any_value(a.formula, table, shown.slot, row_scale, x, met));
            }
        }
    }
}

template <Steps steps, bool shifts, class I, class O>
__global__ void __launch_bounds__(most_threads<steps>, 1) fold_rows(const Shuffled<I, O> a) {
    constexpr int fours = fours_of<steps, shifts>;
    constexpr int pixels = fours * columns;  // of a thread
    I* memory = dynamic_shared<I>();
    __shared__ LogTable table;
    __shared__ CopyBarrier full[depth];
    __shared__ CopyBarrier empty[depth];
    __shared__ int behind[depth];  // words of a row's place before the row
    const int t = static_cast<int>(threadIdx.x);
    const int threads = static_cast<int>(blockDim.x - warp_threads);  // that gather
    if (t < depth) {
        expect_arrivals(full[t], copy_arrivals());
        expect_arrivals(empty[t], static_cast<unsigned>(threads) / warp_threads);
    }
    share(a.table, table);
    unsigned phase = 0;
    int slot = 0;
    const auto advance = [&] {
        slot = slot + 1 == depth ? 0 : slot + 1;
        phase ^= slot == 0 ? 1u : 0u;
    };
    if (t >= threads) {
        for (int unit = static_cast<int>(blockIdx.x); unit < a.n_units; unit += static_cast<int>(gridDim.x)) {
            for (int i = unit / a.n_slices; i < a.n_samples; i += a.row_step) {
                const I* from = row_of(a, i);
                const int before = from_boundary(from);
                wait_for(empty[slot], phase ^ 1u);
                if (t == threads) {
                    behind[slot] = before;
                }
                copy_row(memory + slot * a.place + before, from, a.n_features, static_cast<unsigned>(t - threads),
                         full[slot]);
                advance();
            }
        }
        return;
    }
    Met met;
    for (int unit = static_cast<int>(blockIdx.x); unit < a.n_units; unit += static_cast<int>(gridDim.x)) {
        const int slice_end = first_pixel(a, unit) + a.slice;
        const int end = slice_end < a.n_pixels ? slice_end : a.n_pixels;
        const int first = first_pixel(a, unit) + first_own_pixel<fours>();
        int at[pixels];
        float shift[shifts ? pixels : 1];
        float scale[has_scale<steps> ? pixels : 1];
        unsigned four = 0;
#pragma unroll
        for (int q = 0; q < fours; ++q) {
            int n_shown = 0;
            int n_inside = 0;
#pragma unroll
            for (int e = 0; e < columns; ++e) {
                const int k = q * columns + e;
                const int p = first + own_pixel(k);
                const Shown shown = shown_at(a, p, end);
                at[k] = shown.feature >= 0 ? shown.feature : 0;
                n_shown += shown.feature >= 0 ? 1 : 0;
                n_inside += p >= 0 && p < end ? 1 : 0;
                if constexpr (shifts) {
                    shift[k] = shown.slot >= 0 && a.formula.shift != nullptr ? a.formula.shift[shown.slot] : 0.0f;
                }
                if constexpr (has_scale<steps>) {
                    scale[k] = shown.slot >= 0 && a.formula.scale != nullptr ? a.formula.scale[shown.slot] : 1.0f;
                    // Regular logarithms are not negative: without a shift, their product with 0 is 0, and nothing in
                    // the loop asks whether the scale is.
                    scale[k] = scale[k] == 0.0f ? 0.0f : scale[k];
                    if constexpr (shifts && has_log<steps>) {
                        shift[k] = scale[k] == 0.0f ? 0.0f : shift[k];
                    }
                }
            }
            const unsigned kind = n_shown == columns ? whole : n_shown == 0 && n_inside == columns ? blank : mixed;
            four |= kind << (2 * q);
        }
        unsigned marked = 0;
        unsigned bit = 1;
        for (int i = unit / a.n_slices; i < a.n_samples; i += a.row_step) {
            const float row_scale = scale_of_row<steps>(a, i);
            wait_for(full[slot], phase);
            const I* row = memory + slot * a.place + behind[slot];
            O* out = a.out + static_cast<std::int64_t>(i) * a.n_pixels + first;
            bool irregular = false;
#pragma unroll
            for (int q = 0; q < fours; ++q) {
                Words<O, columns> image;
#pragma unroll
                for (int e = 0; e < columns; ++e) {
                    const int k = q * columns + e;
                    const I x = row[at[k]];
                    if constexpr (steps == Steps::copy) {
                        put(&image.of[e], x);
                    } else {
                        const Lifted lifted = lift<steps>(a.formula, x, 0.0f, row_scale);
                        const bool odd = is_irregular<steps>(a.formula, x, lifted);
                        irregular = irregular || odd;
                        if constexpr (!has_log<steps>) {
                            met.negative += x < 0.0f && four_of(four, q) == whole ? 1u : 0u;
                        }
                        float y = lifted.argument;
                        if constexpr (has_log<steps>) {
                            y = log1p_by_table(y, SharedTable{table});
                        }
                        if constexpr (shifts) {
                            y = y - shift[k];
                        }
                        if constexpr (has_scale<steps>) {
                            y = has_log<steps> || scale[k] != 0.0f ? y * scale[k] : 0.0f;
                        }
                        y = at_most(a.formula.hi, at_least(a.formula.lo, y));
                        store(&image.of[e], y);
                    }
                }
                auto* to = reinterpret_cast<Words<O, columns>*>(out + own_pixel(q * columns));
                if (four_of(four, q) == whole) {
                    store_once(to, image);
                } else if (four_of(four, q) == blank) {
                    store_once(to, Words<O, columns>{});
                }
            }
            if ((irregular || any_mixed(four)) &&
                fold_rest<steps, fours>(a, table, first, end, four, row, row_scale, out, met)) {
                marked |= bit;
            }
            bit = bit << 1 | bit >> (marks - 1);
            __syncwarp();
            if (threadIdx.x % warp_threads == 0) {
                arrive(empty[slot]);
            }
            advance();
        }
        if constexpr (has_log<steps>) {
            if (marked != 0) {
                fold_irregular<steps, fours>(a, table, unit, end, marked, met);
            }
        }
    }
    add_counts({met.missing, met.negative}, a.counts);
}

// Words of a row's place, wherever the row begins.
std::int64_t place_of(std::int64_t n_features, std::int64_t word_bytes) {
    const std::int64_t together = 16 / word_bytes;
    return (n_features + together - 1 + together - 1) / together * together;
}

bool rows_fit(std::int64_t n_features, std::int64_t word_bytes) {
    return depth * place_of(n_features, word_bytes) * word_bytes + other_shared_bytes <= card().shared_bytes;
}

bool has_steps(const NormalizeParameters& p) {
    return !p.normalise || (p.offset == nullptr && (p.log || (p.row_scale == nullptr && !p.clip_below_zero)));
}

template <Steps steps, bool shifts, class I, class O>
void start(Shuffled<I, O> a, void* stream) {
    constexpr int pixels = fours_of<steps, shifts> * columns;
    const auto kernel = fold_rows<steps, shifts, I, O>;
    const auto up = [](std::int64_t n, std::int64_t by) { return (n + by - 1) / by; };
    const bool aligned =
        a.n_pixels % columns == 0 && reinterpret_cast<std::uintptr_t>(a.out) % (columns * sizeof(O)) == 0;
    const std::int64_t widest = a.n_pixels + (aligned ? 0 : columns - 1);
    a.n_slices = static_cast<int>(up(widest, pixels * std::int64_t{most_threads<steps> - warp_threads}));
    a.slice = static_cast<int>(up(up(widest, a.n_slices), columns) * columns);
    const auto threads = static_cast<unsigned>(up(a.slice, pixels * warp_threads) * warp_threads + warp_threads);
    const auto shared = static_cast<std::size_t>(depth * a.place) * sizeof(I);
    // Rows whose images begin alike belong together.
    const std::int64_t period = aligned ? 1 : row_period;
    const std::int64_t fit = blocks_at_once(kernel, threads, shared) / (period * a.n_slices) * period;
    const std::int64_t most = up(a.n_samples, period) * period;
    a.row_step = static_cast<int>(fit < period ? period : (fit < most ? fit : most));
    a.n_units = a.row_step * a.n_slices;
    launch(kernel, blocks_for(a.n_units), threads, shared, stream, a);
}

template <class O>
void start(const Shuffled<float, O>& a, const NormalizeParameters& p, void* stream) {
    const bool shifts = p.scale != nullptr && !p.shift_is_zero;
    if (!p.normalise) {
        start<Steps::copy, false>(a, stream);
    } else if (p.row_scale != nullptr) {
        start<Steps::row, true>(a, stream);
    } else if (!p.log) {
        start<Steps::scale, true>(a, stream);
    } else if (p.scale == nullptr) {
        start<Steps::log, false>(a, stream);
    } else {
        shifts ? start<Steps::log_scale, true>(a, stream) : start<Steps::log_scale, false>(a, stream);
    }
}

}  // namespace

bool fits_shuffled(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters) {
    constexpr std::int64_t element = sizeof(float);
    return x.dtype == DType::f32 && x.feature_stride == element && slots.one_to_one && has_steps(parameters) &&
           x.n_features > 0 && slots.n_pixels <= most_pixels && x.n_samples <= most_rows &&
           rows_fit(x.n_features, element);
}

bool is_shuffled(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters) {
    return x.n_features >= least_features && fits_shuffled(x, slots, parameters) &&
           x.n_samples >= card().multiprocessors;
}

void fold_shuffled(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters, FoldOutput out,
                   unsigned long long* counts, void* stream, const std::int64_t* sample_offset) {
    with_output(out.dtype, out.data, [&](auto* images) {
        using O = std::remove_pointer_t<decltype(images)>;
        Shuffled<float, O> a{static_cast<const char*>(x.data),
                             sample_offset,
                             x.sample_stride,
                             images,
                             static_cast<int>(x.n_samples),
                             static_cast<int>(x.n_features),
                             static_cast<int>(slots.n_pixels),
                             static_cast<int>(place_of(x.n_features, sizeof(float))),
                             0,
                             0,
                             0,
                             0,
                             nullptr,
                             slots,
                             Formula<float>(parameters),
                             log_table(),
                             parameters.row_scale,
                             counts};
        start(a, parameters, stream);
    });
}

bool fits_shuffled(const Moving& m) {
    return (m.word_bytes == 2 || m.word_bytes == 4) && m.n_from > 0 && m.n_columns <= most_pixels &&
           m.n_rows <= most_rows && rows_fit(m.n_from, m.word_bytes);
}

bool is_shuffled(const Moving& m) {
    return m.n_from >= least_features && fits_shuffled(m) && m.n_rows >= card().multiprocessors;
}

namespace {

template <class Word>
void move_words(const Moving& m, void* stream) {
    const NormalizeParameters none{};
    start<Steps::copy, false>(
        Shuffled<Word, Word>{static_cast<const char*>(m.from), nullptr, m.n_from * std::int64_t{sizeof(Word)},
                             static_cast<Word*>(m.out), static_cast<int>(m.n_rows), static_cast<int>(m.n_from),
                             static_cast<int>(m.n_columns), static_cast<int>(place_of(m.n_from, sizeof(Word))), 0, 0, 0,
                             0, m.column, m.slots, Formula<float>(none), log_table(), nullptr, nullptr},
        stream);
}

}  // namespace

void move_shuffled(const Moving& m, void* stream) {
    m.word_bytes == 2 ? move_words<std::uint16_t>(m, stream) : move_words<float>(m, stream);
}

}  // namespace pixfold::cuda
