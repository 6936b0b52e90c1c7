// Two kernels, and scratch memory that stays in L2 between them. The first puts the values of one feature of several
// samples side by side, already normalised: 32 bytes, 8 samples of floats or 16 of two-byte pixels. The second gathers
// one such sector per pixel, and all of it is used. Both turn four by four values in registers: accesses of 16 bytes,
// two threads to a sector.
//
// The samples of a group begin alike, in and out: they are four apart, or come one after the other where all do. So a
// thread's four features are one aligned load, and its four pixels one aligned store.
//
// Parameters, which lie in the order of the pixels, are first put into the order of the features. The loop knows
// regular values alone (regular.hpp).
#include "counts.hpp"
#include "fold_interleaved.hpp"
#include "interleaved_groups.hpp"
#include "kept_words.hpp"
#include "launch.hpp"
#include "overlap.hpp"
#include "regular.hpp"
#include "take_apart.hpp"
#include "words.hpp"

namespace pixfold::cuda {
namespace {

using namespace interleaved;

// Blocks of a multiprocessor, so that nothing spills: registers hold the values of a thread.
template <Steps steps, class O>
constexpr int put_blocks = sizeof(O) == 4 ? (steps == Steps::copy ? 5 : 4) : (steps == Steps::general ? 2 : 3);

// What the L2 of a data-centre GPU holds beside what passes through it; a group of larger samples is not taken.
constexpr std::int64_t kept_bytes = std::int64_t{32} << 20;
constexpr std::int64_t most_group_bytes = std::int64_t{64} << 20;

// Numbers of rows and pixels are of 32 bits in the kernels.
constexpr std::int64_t most = std::int64_t{1} << 30;

// Shorter rows, and fewer of them, are as well gathered from the caches.
constexpr std::int64_t least_features = 4096;

// Parameters of a feature, as one access.
struct alignas(8) ShiftScale {
    float shift;
    float scale;
};
struct alignas(16) OffsetToo {
    float shift;
    float scale;
    float offset;
    float unused;
};
template <Steps steps>
struct RecordOf {
    using type = ShiftScale;
};
template <>
struct RecordOf<Steps::general> {
    using type = OffsetToo;
};

template <class O>
struct Together {
    const char* data;
    const std::int64_t* sample_offset;  // null: samples are sample_stride apart
    std::int64_t sample_stride;
    int n_features;
    O* between;  // [groups of the launch][n_features][group]
    Groups groups;
    int first_group;
    int n_tiles;
    std::int64_t n_units;
    const std::int32_t* slot_of_feature;  // null: feature j has slot j
    const void* records;                  // [n_features]
    Formula<float> formula;
    LogTable table;
    const double* row_scale;
    unsigned long long* counts;
};

template <class O>
__device__ const float* row_of(const Together<O>& a, std::int64_t i) {
    return reinterpret_cast<const float*>(a.data +
                                          (a.sample_offset != nullptr ? a.sample_offset[i] : i * a.sample_stride));
}

template <Steps steps, class O>
__device__ float scale_of_row(const Together<O>& a, std::int64_t i) {
    return steps == Steps::general && a.row_scale != nullptr ? static_cast<float>(a.row_scale[i]) : 1.0f;
}

// What a thread does of a unit: four features of some rows.
struct Part {
    int row;
    int rows;
    int first;
};

// Values one by one, from memory to memory: those that are irregular, or all.
template <Steps steps, class O>
__device__ void one_by_one(const Together<O>& a, const LogTable& table, const Part& at, bool all, O* to, Met& met) {
#pragma unroll 1
    for (int v = 0; v < at.rows * columns; ++v) {
        const int u = v / columns;
        const int e = v % columns;
        const int i = at.row + u * a.groups.period;
        const int j = at.first + e;
        if (j < 0 || j >= a.n_features) {
            continue;
        }
        const float x = row_of(a, i)[j];
        float y = x;
        if constexpr (steps != Steps::copy) {
            const std::int32_t slot = a.slot_of_feature != nullptr ? a.slot_of_feature[j] : j;
            const float row_scale = scale_of_row<steps>(a, i);
            const float offset = a.formula.offset != nullptr ? a.formula.offset[slot] : 0.0f;
            if (!all && !is_irregular<steps>(a.formula, x, lift<steps>(a.formula, x, offset, row_scale))) {
                continue;
            }
            y = any_value(a.formula, table, slot, row_scale, x, met);
        }
        store(to + e * group_of<O> + u, y);
    }
}

template <Steps steps, class O>
__global__ void __launch_bounds__(threads, put_blocks<steps, O>) put_together(const Together<O> a) {
    using Record = typename RecordOf<steps>::type;
    constexpr int n = own_rows<O>;
    __shared__ LogTable table;
    let_next_begin();
    share(a.table, table);
    const Formula<float>& f = a.formula;
    Met met;
    for (std::int64_t unit = blockIdx.x; unit < a.n_units; unit += gridDim.x) {
        const int group = static_cast<int>(unit / a.n_tiles);
        const int half = static_cast<int>(threadIdx.x & 1u);
        const int first_row = a.groups.first_row(a.first_group + group);
        Part at{first_row + half * n * a.groups.period, 0, 0};
        at.rows = a.groups.rows_from(at.row, n);
        if (at.rows > 0) {
            at.first = static_cast<int>(unit % a.n_tiles) * tile + static_cast<int>(threadIdx.x / 2) * columns -
                       behind_boundary(row_of(a, first_row));
        }
        O* to = a.between + (std::int64_t{group} * a.n_features + at.first) * group_of<O> + half * n;
        const bool whole = at.rows > 0 && at.first >= 0 && at.first + columns <= a.n_features;
        Words<float, columns> x[n];
        Record record[columns] = {};
        if (whole) {
#pragma unroll
            for (int u = 0; u < n; ++u) {
                x[u] = {};
                if (u < at.rows) {
                    const float* row = row_of(a, at.row + u * a.groups.period);
                    x[u] = load_once(reinterpret_cast<const Words<float, columns>*>(row + at.first));
                }
            }
            if constexpr (steps != Steps::copy) {
#pragma unroll
                for (int e = 0; e < columns; ++e) {
                    record[e] = static_cast<const Record*>(a.records)[at.first + e];
                }
            }
        }
        wait_for_previous();  // which has read what was between
        bool irregular = false;
        if (whole) {
            float row_scale[n];
#pragma unroll
            for (int u = 0; u < n; ++u) {
                row_scale[u] = steps == Steps::general && u < at.rows
                                   ? scale_of_row<steps>(a, at.row + u * a.groups.period)
                                   : 1.0f;
            }
#pragma unroll
            for (int e = 0; e < columns; ++e) {
                Words<O, n> values;
#pragma unroll
                for (int u = 0; u < n; ++u) {
                    float y = x[u].of[e];
                    if constexpr (steps != Steps::copy) {
                        float offset = 0.0f;
                        if constexpr (steps == Steps::general) {
                            offset = record[e].offset;
                        }
                        const Lifted lifted = lift<steps>(f, y, offset, row_scale[u]);
                        const bool odd = is_irregular<steps>(f, y, lifted);
                        irregular = irregular || odd;
                        if (!takes_log<steps>(f)) {
                            met.negative += u < at.rows && lifted.value < 0.0f ? 1u : 0u;
                        }
                        y = regular<steps>(f, table, lifted.argument, record[e].shift, record[e].scale);
                    }
                    store(&values.of[u], y);
                }
                store_kept(reinterpret_cast<Words<O, n>*>(to + e * group_of<O>), values);
            }
        }
        if (irregular || !whole) {
            one_by_one<steps>(a, table, at, !whole, to, met);
        }
    }
    add_counts({met.missing, met.negative}, a.counts);
}

// The parameters of each slot, at its feature.
template <class Record>
__global__ void __launch_bounds__(threads)
    order_parameters(const Formula<float> f, const Slots slots, Record* records) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * threads;
    for (std::int64_t k = blockIdx.x * std::int64_t{threads} + threadIdx.x; k < slots.n_slots; k += stride) {
        Record one{};
        one.shift = f.scale != nullptr ? f.shift[k] : 0.0f;
        one.scale = f.scale != nullptr ? f.scale[k] : 1.0f;
        if constexpr (sizeof(Record) == sizeof(OffsetToo)) {
            one.offset = f.offset != nullptr ? f.offset[k] : 0.0f;
        }
        records[slots.feature != nullptr ? slots.feature[k] : k] = one;
    }
}

Steps steps_of(const NormalizeParameters& p) {
    const bool floor = p.clip_below_zero && !p.log;  // under a logarithm what is below 0 is irregular
    if (!p.normalise) {
        return Steps::copy;
    }
    if (p.offset != nullptr || p.row_scale != nullptr || floor) {
        return Steps::general;
    }
    return p.log ? Steps::log_scale : Steps::scale;
}

std::int64_t up(std::int64_t n, std::int64_t by) { return (n + by - 1) / by; }

std::int64_t record_bytes(std::int64_t n_features, const NormalizeParameters& p) {
    const Steps steps = steps_of(p);
    const std::size_t one = steps == Steps::copy ? 0 : steps == Steps::general ? sizeof(OffsetToo) : sizeof(ShiftScale);
    return up(n_features * static_cast<std::int64_t>(one), sector) * sector;
}

std::int64_t size_of_pixel(DType dtype) { return dtype == DType::f32 ? 4 : 2; }

// How many rows apart those that begin alike are.
int period_of(const DenseView& x, const Slots& slots, FoldOutput out) {
    const std::int64_t four = columns * size_of_pixel(out.dtype);
    const bool together = x.sample_stride % (columns * std::int64_t{sizeof(float)}) == 0;
    return together && slots.n_pixels * size_of_pixel(out.dtype) % four == 0 ? 1 : row_period;
}

Groups groups_of(const DenseView& x, const Slots& slots, FoldOutput out) {
    return {static_cast<int>(x.n_samples), sector / static_cast<int>(size_of_pixel(out.dtype)),
            period_of(x, slots, out)};
}

template <Steps steps, class O>
void put(const Together<O>& a, bool first, void* stream) {
    if (first) {
        launch(put_together<steps, O>, blocks_for(a.n_units), threads, 0, stream, a);
    } else {
        launch_overlapping(put_together<steps, O>, blocks_for(a.n_units), threads, stream, a);
    }
}

template <class O>
void put(Steps steps, const Together<O>& a, bool first, void* stream) {
    switch (steps) {
        case Steps::copy:
            return put<Steps::copy>(a, first, stream);
        case Steps::scale:
            return put<Steps::scale>(a, first, stream);
        case Steps::log_scale:
            return put<Steps::log_scale>(a, first, stream);
        default:
            return put<Steps::general>(a, first, stream);
    }
}

}  // namespace

bool fits_interleaved(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters,
                      const std::int64_t* sample_offset) {
    constexpr std::int64_t element = sizeof(float);
    return x.dtype == DType::f32 && x.feature_stride == element && slots.one_to_one && x.n_features > 0 &&
           (slots.n_slots == x.n_features || !parameters.normalise) && x.n_features * sector <= most_group_bytes &&
           slots.n_pixels <= most && x.n_samples <= most &&
           (sample_offset == nullptr || x.sample_stride % (columns * element) == 0);
}

bool is_interleaved(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters, FoldOutput out,
                    const std::int64_t* sample_offset) {
    constexpr std::int64_t element = sizeof(float);
    // Groups that are less than three quarters full are no faster than gathering.
    const std::int64_t least_rows = period_of(x, slots, out) == 1 ? 8 : 24;
    return x.n_features >= least_features && fits_interleaved(x, slots, parameters, sample_offset) &&
           x.n_samples >= least_rows && x.n_samples * x.n_features * element >= least_interleaved_bytes;
}

std::int64_t least_interleaved_workspace(const DenseView& x, const NormalizeParameters& parameters) {
    return record_bytes(x.n_features, parameters) + x.n_features * sector;
}

std::int64_t interleaved_workspace(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters,
                                   FoldOutput out) {
    const std::int64_t group = x.n_features * sector;
    const std::int64_t held = kept_bytes / group;
    const std::int64_t all = groups_of(x, slots, out).count();
    return record_bytes(x.n_features, parameters) + group * (held < 1 ? 1 : held < all ? held : all);
}

void fold_interleaved(const DenseView& x, const Slots& slots, const NormalizeParameters& parameters, FoldOutput out,
                      unsigned long long* counts, void* stream, const std::int64_t* sample_offset, const FoldAid& aid) {
    const Steps steps = steps_of(parameters);
    const Formula<float> formula(parameters);
    void* records = aid.workspace.data;
    if (steps != Steps::copy) {
        const unsigned blocks = blocks_for(up(slots.n_slots, threads));
        if (steps == Steps::general) {
            launch(order_parameters<OffsetToo>, blocks, threads, 0, stream, formula, slots,
                   static_cast<OffsetToo*>(records));
        } else {
            launch(order_parameters<ShiftScale>, blocks, threads, 0, stream, formula, slots,
                   static_cast<ShiftScale*>(records));
        }
    }
    const std::int64_t ordered = record_bytes(x.n_features, parameters);
    char* between = static_cast<char*>(aid.workspace.data) + ordered;
    const Groups groups = groups_of(x, slots, out);
    const std::int64_t each = (aid.workspace.bytes - ordered) / (x.n_features * sector);
    // Features and pixels of unaligned rows begin up to three before the row.
    const auto n_features = static_cast<int>(x.n_features);
    const auto in_tiles = static_cast<int>(up(x.n_features + columns - 1, tile));
    const auto out_tiles = static_cast<int>(up(slots.n_pixels + columns - 1, tile));
    const bool whole_features = slots.feature != nullptr && slots.first_slot == nullptr &&
                                reinterpret_cast<std::uintptr_t>(slots.feature) % 16 == 0;
    for (std::int64_t start = 0; start < groups.count(); start += each) {
        const auto first = static_cast<int>(start);
        const std::int64_t here = groups.count() - start < each ? groups.count() - start : each;
        with_output(out.dtype, out.data, [&](auto* images) {
            using O = std::remove_pointer_t<decltype(images)>;
            put(steps,
                Together<O>{static_cast<const char*>(x.data), sample_offset, x.sample_stride, n_features,
                            reinterpret_cast<O*>(between), groups, first, in_tiles, in_tiles * here,
                            aid.slot_of_feature, records, formula, log_table(), parameters.row_scale, counts},
                first == 0, stream);
        });
        const auto apart = [&](auto* images) {
            using Word = std::remove_pointer_t<decltype(images)>;
            launch_overlapping(take_apart<Word>, blocks_for(out_tiles * here), threads, stream,
                               Apart<Word>{reinterpret_cast<const Word*>(between), images, slots, whole_features,
                                           n_features, groups, first, out_tiles, out_tiles * here});
        };
        if (out.dtype == DType::f32) {
            apart(static_cast<std::uint32_t*>(out.data));
        } else {
            apart(static_cast<std::uint16_t*>(out.data));
        }
    }
}

}  // namespace pixfold::cuda
