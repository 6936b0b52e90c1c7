// fold of dense samples: a sample's slots go by tiles, each loaded (or gathered), normalised and stored while in L1.
#include "dense_rows.hpp"
#include "normalise.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

constexpr std::int64_t chunk_slots = tile_slots * 64;  // the part of a sample that one thread takes at a time

// Samples whose features do not lie side by side (Fortran order, say) go by groups: values of one feature may.
constexpr std::int64_t group_samples = 16;
constexpr std::int64_t group_slots = 256;

// The same slots of several samples.
template <class T>
void load_group(const DenseView& x, const char* data, std::int64_t n_samples, const std::int32_t* feature,
                std::int64_t n, Compute<T> (*values)[group_slots]) {
    for (std::int64_t k = 0; k < n; ++k) {
        const char* at = data + feature[k] * x.feature_stride;
        for (std::int64_t i = 0; i < n_samples; ++i) {
            values[i][k] = widen<Compute<T>>(load<T>(at, x.sample_stride, i));
        }
    }
}

// How values of the input's type are read: the one place that knows it, so that all else is compiled for the type that
// it computes in alone.
template <class C>
struct Loads {
    bool plain;  // the input's type is C
    std::int64_t size;
    void (*tile)(const Row&, const SlotView&, std::int64_t first, std::int64_t n, C* value);
    void (*group)(const DenseView&, const char* data, std::int64_t n_samples, const std::int32_t* feature,
                  std::int64_t n, C (*values)[group_slots]);
};

template <class T>
constexpr Loads<Compute<T>> loads_of{std::is_same_v<T, Compute<T>>, sizeof(T), load_tile<T>, load_group<T>};

// Where the images of one sample go, and how.
template <class O>
struct Target {
    O* image;
    bool stream;
};

// Normalise a tile of values and store it. `source` may be `value`; `value` and `work` are room for a tile.
template <class C, class O>
FoldCounts emit_tile(const SlotView& slots, const Formula<C>* formula, C row_scale, std::int64_t first, std::int64_t n,
                     const C* source, C* value, C* work, const Target<O>& target, bool aligned) {
    FoldCounts counts;
    if constexpr (std::is_same_v<C, O>) {
        if (formula != nullptr && slots.identity_pixels) {
            return normalise_tile(*formula, first, n, row_scale, source, work, target.image + first, aligned);
        }
    }
    const C* y = source;
    if (formula != nullptr) {
        counts = normalise_tile(*formula, first, n, row_scale, source, work, value, false);
        y = value;
    }
    if (slots.identity_pixels) {
        store_tile(y, n, target.image + first, aligned);
    } else {
        for (std::int64_t k = 0; k < n; ++k) {
            store(target.image + slots.pixel[first + k], y[k]);
        }
    }
    return counts;
}

// Zero the pixels without a feature from the first slot's pixel to the one before slot `end`'s.
template <class O>
void zero_gaps(const SlotView& slots, std::int64_t first, std::int64_t end, O* image) {
    if (!slots.identity_pixels) {
        zero_pixels(image, first == 0 ? 0 : slots.pixel[first],
                    end == slots.n_slots ? slots.n_pixels : slots.pixel[end]);
    } else if (end == slots.n_slots) {
        zero_pixels(image, end, slots.n_pixels);
    }
}

// Slots [first, end) of one sample, one feature per pixel.
template <class C, class O>
FoldCounts fold_chunk(const Loads<C>& loads, const Row& row, const SlotView& slots, const Formula<C>* formula,
                      C row_scale, std::int64_t first, std::int64_t end, const Target<O>& target) {
    constexpr std::int64_t per_line = cache_line / static_cast<std::int64_t>(sizeof(O));
    alignas(cache_line) C value[tile_slots];
    alignas(cache_line) C work[tile_slots];
    FoldCounts counts;
    zero_gaps(slots, first, end, target.image);
    const bool stream = target.stream && slots.identity_pixels;
    const bool in_place = loads.plain && slots.identity_features && row.side_by_side &&
                          reinterpret_cast<std::uintptr_t>(row.data) % alignof(C) == 0;
    for (std::int64_t at = first; at < end;) {
        std::int64_t n = end - at < tile_slots ? end - at : tile_slots;
        bool aligned = false;
        if (stream) {
            // Tiles end where the image's cache lines do; what is left over at both ends is stored normally.
            const std::int64_t lead = elements_to_line(target.image + at);
            aligned = lead == 0 && n >= per_line;
            n = lead != 0 ? (lead < n ? lead : n) : (aligned ? n / per_line * per_line : n);
        }
        const C* source = value;
        if (in_place) {
            source = reinterpret_cast<const C*>(row.data) + at;
            fetch(row.data + at * static_cast<std::int64_t>(sizeof(C)) + ahead,
                  n * static_cast<std::int64_t>(sizeof(C)));
        } else {
            loads.tile(row, slots, at, n, value);
        }
        const FoldCounts tile = emit_tile(slots, formula, row_scale, at, n, source, value, work, target, aligned);
        counts.missing += tile.missing;
        counts.negative += tile.negative;
        at += n;
    }
    return counts;
}

// Slots [first, end) of a group of samples whose features do not lie side by side.
template <class C, class O>
FoldCounts fold_group(const Loads<C>& loads, const DenseView& x, std::int64_t sample, std::int64_t n_samples,
                      const SlotView& slots, const Formula<C>* formula, const double* row_scale, std::int64_t first,
                      std::int64_t end, O* out) {
    C values[group_samples][group_slots];
    C work[group_slots];
    FoldCounts counts;
    const char* data = static_cast<const char*>(x.data) + sample * x.sample_stride;
    for (std::int64_t i = 0; i < n_samples; ++i) {
        zero_gaps(slots, first, end, out + (sample + i) * slots.n_pixels);
    }
    for (std::int64_t at = first; at < end; at += group_slots) {
        const std::int64_t n = end - at < group_slots ? end - at : group_slots;
        loads.group(x, data, n_samples, slots.feature + at, n, values);
        for (std::int64_t i = 0; i < n_samples; ++i) {
            const Target<O> target{out + (sample + i) * slots.n_pixels, false};
            const C scale = row_scale != nullptr ? static_cast<C>(row_scale[sample + i]) : C{1};
            const FoldCounts tile = emit_tile(slots, formula, scale, at, n, values[i], values[i], work, target, false);
            counts.missing += tile.missing;
            counts.negative += tile.negative;
        }
    }
    return counts;
}

// One sample with several features on a pixel.
template <class C, class O>
FoldCounts fold_sample_mean(const Loads<C>& loads, const Row& row, const SlotView& slots, const Formula<C>* formula,
                            C row_scale, O* image) {
    FoldCounts counts;
    zero_pixels(image, 0, slots.n_pixels);
    PixelMean<O> mean{image};
    alignas(cache_line) C value[tile_slots];
    alignas(cache_line) C work[tile_slots];
    for (std::int64_t at = 0; at < slots.n_slots; at += tile_slots) {
        const std::int64_t n = slots.n_slots - at < tile_slots ? slots.n_slots - at : tile_slots;
        loads.tile(row, slots, at, n, value);
        if (formula != nullptr) {
            const FoldCounts tile = normalise_tile(*formula, at, n, row_scale, value, work, value, false);
            counts.missing += tile.missing;
            counts.negative += tile.negative;
        }
        for (std::int64_t k = 0; k < n; ++k) {
            mean.add(slots.pixel[at + k], static_cast<double>(value[k]));
        }
    }
    mean.flush();
    return counts;
}

template <class C, class O>
FoldCounts fold_samples(const Loads<C>& loads, const DenseView& x, const SlotView& slots,
                        const NormalizeParameters& parameters, O* out, int threads) {
    const Formula<C> formula(parameters);
    const Formula<C>* used = parameters.normalise ? &formula : nullptr;
    const std::int64_t image_bytes = slots.n_pixels * static_cast<std::int64_t>(sizeof(O));
    const bool stream = streams(x.n_samples * image_bytes);
    const bool side_by_side = x.feature_stride == loads.size;
    const bool by_group = slots.one_to_one && !side_by_side;
    const std::int64_t per_unit = by_group ? group_samples : 1;
    const std::int64_t per_chunk = slots.one_to_one ? chunk_slots : slots.n_slots;
    const std::int64_t n_chunks =
        per_chunk == 0 || slots.n_slots == 0 ? 1 : (slots.n_slots + per_chunk - 1) / per_chunk;
    const std::int64_t n_units = (x.n_samples + per_unit - 1) / per_unit * n_chunks;
    std::int64_t missing = 0;
    std::int64_t negative = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : missing, negative)
    for (std::int64_t unit = 0; unit < n_units; ++unit) {
        const std::int64_t i = unit / n_chunks * per_unit;
        const std::int64_t first = (unit % n_chunks) * per_chunk;
        const std::int64_t end = slots.n_slots - first < per_chunk ? slots.n_slots : first + per_chunk;
        FoldCounts counts;
        if (by_group) {
            const std::int64_t n = x.n_samples - i < per_unit ? x.n_samples - i : per_unit;
            counts = fold_group(loads, x, i, n, slots, used, parameters.row_scale, first, end, out);
        } else {
            const char* data = static_cast<const char*>(x.data) + i * x.sample_stride;
            const Row row{data,         i + 1 < x.n_samples ? data + x.sample_stride : nullptr,
                          side_by_side, x.feature_stride,
                          x.n_features, x.n_features * loads.size > far_row};
            const C row_scale = parameters.row_scale != nullptr ? static_cast<C>(parameters.row_scale[i]) : C{1};
            O* image = out + i * slots.n_pixels;
            counts = slots.one_to_one
                         ? fold_chunk(loads, row, slots, used, row_scale, first, end, Target<O>{image, stream})
                         : fold_sample_mean(loads, row, slots, used, row_scale, image);
        }
        missing += counts.missing;
        negative += counts.negative;
        if (stream) {
            fence_streams();
        }
    }
    return {missing, negative};
}

}  // namespace

FoldCounts fold_dense(const DenseView& x, const SlotView& slots, const NormalizeParameters& parameters, FoldOutput out,
                      int threads) {
    FoldCounts counts;
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        with_output(out.dtype, out.data,
                    [&](auto* images) { counts = fold_samples(loads_of<T>, x, slots, parameters, images, threads); });
    });
    return counts;
}

}  // namespace pixfold::PIXFOLD_ISA
