// fold of compressed sparse rows: never densified. A thread keeps the image of an all-zero sample in its cache, places
// a row's values into it, writes it out and takes them back.
#include "images.hpp"
#include "normalise.hpp"
#include "pixfold/fold.hpp"
#include "scratch.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

// Up to a tile of a row's values whose features have a slot, and the parameters of these slots side by side.
template <class C>
struct Picked {
    std::int64_t n;
    std::int32_t slot[tile_slots];
    C value[tile_slots];
    C work[tile_slots];
    C offset[tile_slots];
    C shift[tile_slots];
    C scale[tile_slots];
    C fill[tile_slots];

    void pick(const C* from, C* to) const {
        for (std::int64_t k = 0; k < n; ++k) {
            to[k] = from[slot[k]];
        }
    }

    FoldCounts normalise(const Formula<C>& formula, C row_scale) {
        Formula<C> picked = formula;
        if (formula.offset != nullptr) {
            pick(formula.offset, offset);
            picked.offset = offset;
        }
        if (formula.scale != nullptr) {
            pick(formula.shift, shift);
            pick(formula.scale, scale);
            picked.shift = shift;
            picked.scale = scale;
        }
        std::int32_t missing = 0;
#pragma omp simd reduction(+ : missing)
        for (std::int64_t k = 0; k < n; ++k) {
            missing += value[k] != value[k] ? 1 : 0;
        }
        if (missing != 0) {
            pick(formula.fill, fill);
        }
        picked.fill = fill;
        return normalise_tile(picked, 0, n, row_scale, value, work, value, false);
    }
};

// The rows as they are stored. `pick` takes entries from `e` on, at most to `end`, into a tile and says where it
// stopped: the one place that knows their types, so that all else is compiled for what it computes in alone.
template <class C>
struct Rows {
    const void* values;
    const void* indices;
    const std::int32_t* slot_of_feature;  // null where every feature is its own slot
    std::int64_t (*pick)(const Rows&, std::int64_t e, std::int64_t end, Picked<C>&);
};

template <class T, class I>
std::int64_t pick_entries(const Rows<Compute<T>>& rows, std::int64_t e, std::int64_t end, Picked<Compute<T>>& picked) {
    using C = Compute<T>;
    const T* values = static_cast<const T*>(rows.values);
    const I* indices = static_cast<const I*>(rows.indices);
    picked.n = 0;
    if (rows.slot_of_feature == nullptr) {
        const std::int64_t n = end - e < tile_slots ? end - e : tile_slots;
        for (std::int64_t k = 0; k < n; ++k) {
            picked.slot[k] = static_cast<std::int32_t>(indices[e + k]);
            picked.value[k] = widen<C>(values[e + k]);
        }
        picked.n = n;
        return e + n;
    }
    for (; e < end && picked.n < tile_slots; ++e) {
        const std::int32_t slot = rows.slot_of_feature[indices[e]];
        picked.slot[picked.n] = slot;
        picked.value[picked.n] = widen<C>(values[e]);
        picked.n += slot >= 0 ? 1 : 0;
    }
    return e;
}

// Calls place(picked) for every tile of entries [start, end).
template <class C, class Place>
FoldCounts each_tile(const Rows<C>& rows, std::int64_t start, std::int64_t end, const Formula<C>* formula, C row_scale,
                     Picked<C>& picked, Place&& place) {
    FoldCounts counts;
    for (std::int64_t e = start; e < end;) {
        e = rows.pick(rows, e, end, picked);
        if (formula != nullptr) {
            const FoldCounts tile = picked.normalise(*formula, row_scale);
            counts.missing += tile.missing;
            counts.negative += tile.negative;
        }
        place(picked);
    }
    return counts;
}

// The values of an all-zero sample, per slot.
template <class C>
void zero_values(const SlotView& slots, const Formula<C>* formula, C* zero) {
    for (std::int64_t at = 0; at < slots.n_slots; at += tile_slots) {
        const std::int64_t n = slots.n_slots - at < tile_slots ? slots.n_slots - at : tile_slots;
        C value[tile_slots] = {};
        C work[tile_slots];
        if (formula != nullptr) {
            normalise_tile(*formula, at, n, C{1}, value, work, zero + at, false);
        } else {
            std::memcpy(zero + at, value, static_cast<std::size_t>(n) * sizeof(C));
        }
    }
}

template <class C, class O>
void place_slots(const SlotView& slots, const C* value, O* image) {
    zero_pixels(image, 0, slots.n_pixels);
    if (slots.one_to_one) {
        for (std::int64_t k = 0; k < slots.n_slots; ++k) {
            store(image + slots.pixel[k], value[k]);
        }
        return;
    }
    PixelMean<O> mean{image};
    for (std::int64_t k = 0; k < slots.n_slots; ++k) {
        mean.add(slots.pixel[k], static_cast<double>(value[k]));
    }
    mean.flush();
}

template <class C, class O>
FoldCounts fold_rows(const CsrView& x, const Rows<C>& rows, const SlotView& slots,
                     const NormalizeParameters& parameters, O* out, int threads) {
    const Formula<C> formula(parameters);
    const Formula<C>* used = parameters.normalise ? &formula : nullptr;
    const bool stream = streams(x.n_samples * slots.n_pixels * static_cast<std::int64_t>(sizeof(O)));
    std::int64_t missing = 0;
    std::int64_t negative = 0;
    // All memory is taken here: an exception must not leave a parallel region. With one feature per pixel a thread
    // needs an image, else the slots of one sample.
    const Buffer<C> zero(slots.n_slots);
    const Buffer<O> background(slots.one_to_one ? slots.n_pixels : 0);
    const Buffer<O> images(slots.one_to_one ? slots.n_pixels * threads : 0);
    const Buffer<C> dense_values(slots.one_to_one ? 0 : slots.n_slots * threads);
    const Buffer<std::int32_t> places(slots.n_slots * threads);
    const Buffer<Picked<C>> tiles(threads);
    zero_values(slots, used, zero.data);
    if (slots.one_to_one) {
        place_slots(slots, zero.data, background.data);
    }
#pragma omp parallel num_threads(threads) reduction(+ : missing, negative)
    {
        const std::int64_t thread = thread_number();
        O* image = images.data + thread * slots.n_pixels;
        C* dense = dense_values.data + thread * slots.n_slots;
        Picked<C>& picked = tiles.data[thread];
        // Where this row was placed: a row holds a slot once.
        std::int32_t* placed = places.data + thread * slots.n_slots;
        if (slots.one_to_one) {
            std::memcpy(static_cast<void*>(image), background.data,
                        static_cast<std::size_t>(slots.n_pixels) * sizeof(O));
        } else {
            std::memcpy(dense, zero.data, static_cast<std::size_t>(slots.n_slots) * sizeof(C));
        }
#pragma omp for schedule(dynamic, 8)
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            const C row_scale = parameters.row_scale != nullptr ? static_cast<C>(parameters.row_scale[i]) : C{1};
            const std::int64_t start = x.row_start[i];
            const std::int64_t end = x.row_start[i + 1];
            O* to = out + i * slots.n_pixels;
            FoldCounts counts;
            std::int64_t n_placed = 0;
            if (slots.one_to_one) {
                counts = each_tile(rows, start, end, used, row_scale, picked, [&](const Picked<C>& tile) {
                    for (std::int64_t k = 0; k < tile.n; ++k) {
                        const std::int32_t pixel = slots.pixel[tile.slot[k]];
                        placed[n_placed + k] = pixel;
                        store(image + pixel, tile.value[k]);
                    }
                    n_placed += tile.n;
                });
                if (stream) {
                    stream_image(image, slots.n_pixels, to);
                } else {
                    std::memcpy(static_cast<void*>(to), image, static_cast<std::size_t>(slots.n_pixels) * sizeof(O));
                }
                for (std::int64_t k = 0; k < n_placed; ++k) {
                    image[placed[k]] = background.data[placed[k]];
                }
            } else {
                // The sample as slots, then the same means as for dense input: the same bits.
                counts = each_tile(rows, start, end, used, row_scale, picked, [&](const Picked<C>& tile) {
                    for (std::int64_t k = 0; k < tile.n; ++k) {
                        placed[n_placed + k] = tile.slot[k];
                        dense[tile.slot[k]] = tile.value[k];
                    }
                    n_placed += tile.n;
                });
                place_slots(slots, dense, to);
                for (std::int64_t k = 0; k < n_placed; ++k) {
                    dense[placed[k]] = zero.data[placed[k]];
                }
            }
            missing += counts.missing;
            negative += counts.negative;
        }
        if (stream) {
            fence_streams();
        }
    }
    return {missing, negative};
}

}  // namespace

FoldCounts fold_csr(const CsrView& x, const SlotView& slots, const std::int32_t* slot_of_feature,
                    const NormalizeParameters& parameters, FoldOutput out, int threads) {
    FoldCounts counts;
    const bool own_slots = slots.identity_features && slots.n_slots == x.n_features;
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        const Rows<Compute<T>> rows{x.values, x.indices, own_slots ? nullptr : slot_of_feature,
                                    x.wide_indices ? pick_entries<T, std::int64_t> : pick_entries<T, std::int32_t>};
        with_output(out.dtype, out.data,
                    [&](auto* images) { counts = fold_rows(x, rows, slots, parameters, images, threads); });
    });
    return counts;
}

}  // namespace pixfold::PIXFOLD_ISA
