#include "pixfold/fold.hpp"

#include "kernels.hpp"
#include "pixfold/elements.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace pixfold::PIXFOLD_ISA {
namespace {

constexpr std::int64_t tile_slots = 1024;              // a tile of values stays in L1 between its three loops
constexpr std::int64_t chunk_slots = tile_slots * 16;  // the part of a sample that one thread takes at a time

// The parameters of NormalizeParameters, typed.
template <class C>
struct Formula {
    explicit Formula(const NormalizeParameters& p)
        : offset(static_cast<const C*>(p.offset)),
          shift(static_cast<const C*>(p.shift)),
          scale(static_cast<const C*>(p.scale)),
          fill(static_cast<const C*>(p.fill)),
          lo(static_cast<C>(p.lo)),
          hi(static_cast<C>(p.hi)),
          log(p.log),
          clip_below_zero(p.clip_below_zero) {}

    const C* offset;
    const C* shift;
    const C* scale;
    const C* fill;
    C lo;
    C hi;
    bool log;
    bool clip_below_zero;
};

template <bool log, class C>
FoldCounts normalise_tile(const Formula<C>& f, std::int64_t first, std::int64_t n, C row_scale, C* value) {
    std::int32_t missing = 0;
    std::int32_t negative = 0;
    // An argument below `floor` is raised to it; -inf raises nothing.
    const C floor = f.clip_below_zero ? C{0} : -static_cast<C>(HUGE_VAL);
    const C lo = f.lo;
    const C hi = f.hi;
    const C* __restrict offset = f.offset + first;
    const C* __restrict shift = f.shift + first;
    const C* __restrict scale = f.scale + first;
    const C* __restrict fill = f.fill + first;
#pragma omp simd reduction(+ : missing, negative)
    for (std::int64_t k = 0; k < n; ++k) {
        const C x = value[k];
        const C lifted = x + offset[k];
        C argument = lifted * row_scale;
        missing += x != x ? 1 : 0;
        negative += lifted < C{0} ? 1 : 0;
        argument = argument < floor ? floor : argument;
        const C g = log ? log1p(argument) : argument;
        C y = scale[k] == C{0} ? C{0} : (g - shift[k]) * scale[k];  // 0 * inf is NaN
        y = y < lo ? lo : y;
        y = y > hi ? hi : y;
        value[k] = x != x ? fill[k] : y;
    }
    return {missing, negative};
}

template <class C>
FoldCounts normalise(const Formula<C>& f, std::int64_t first, std::int64_t n, C row_scale, C* value) {
    return f.log ? normalise_tile<true>(f, first, n, row_scale, value)
                 : normalise_tile<false>(f, first, n, row_scale, value);
}

template <class T, class C>
void load_tile(const char* row, std::int64_t stride, const SlotView& slots, std::int64_t first, std::int64_t n,
               C* value) {
    const bool packed = stride == static_cast<std::int64_t>(sizeof(T));
    if (slots.identity_features && packed) {
        const char* at = row + first * static_cast<std::int64_t>(sizeof(T));
        for (std::int64_t k = 0; k < n; ++k) {
            value[k] = widen<C>(load<T>(at, sizeof(T), k));
        }
    } else if (slots.identity_features) {
        for (std::int64_t k = 0; k < n; ++k) {
            value[k] = widen<C>(load<T>(row, stride, first + k));
        }
    } else if (packed) {
        for (std::int64_t k = 0; k < n; ++k) {
            value[k] = widen<C>(load<T>(row, sizeof(T), slots.feature[first + k]));
        }
    } else {
        for (std::int64_t k = 0; k < n; ++k) {
            value[k] = widen<C>(load<T>(row, stride, slots.feature[first + k]));
        }
    }
}

template <class O>
void zero_pixels(O* image, std::int64_t first, std::int64_t end) {
    if (end > first) {
        std::memset(static_cast<void*>(image + first), 0, static_cast<std::size_t>(end - first) * sizeof(O));
    }
}

// One chunk of one sample, one feature per pixel: slots [first, end) and the pixels from the first one's to the one
// before the next chunk's.
template <class T, class O, class C>
FoldCounts fold_chunk(const DenseView& x, const char* row, const SlotView& slots, const Formula<C>* formula,
                      C row_scale, std::int64_t first, std::int64_t end, O* image) {
    FoldCounts counts;
    if (!slots.identity_pixels) {
        const std::int64_t from = first == 0 ? 0 : slots.pixel[first];
        zero_pixels(image, from, end == slots.n_slots ? slots.n_pixels : slots.pixel[end]);
    } else if (end == slots.n_slots) {
        zero_pixels(image, end, slots.n_pixels);
    }
    C value[tile_slots];
    for (std::int64_t at = first; at < end; at += tile_slots) {
        const std::int64_t n = end - at < tile_slots ? end - at : tile_slots;
        load_tile<T>(row, x.feature_stride, slots, at, n, value);
        if (formula != nullptr) {
            const FoldCounts tile = normalise(*formula, at, n, row_scale, value);
            counts.missing += tile.missing;
            counts.negative += tile.negative;
        }
        if (slots.identity_pixels) {
            for (std::int64_t k = 0; k < n; ++k) {
                store(image + at + k, value[k]);
            }
        } else {
            for (std::int64_t k = 0; k < n; ++k) {
                store(image + slots.pixel[at + k], value[k]);
            }
        }
    }
    return counts;
}

// Running mean of the features of one pixel, in double.
template <class O>
struct PixelMean {
    O* image;
    std::int64_t pixel = -1;
    double sum = 0.0;
    std::int64_t n = 0;

    void add(std::int64_t at, double value) {
        if (at != pixel) {
            flush();
            pixel = at;
            sum = 0.0;
            n = 0;
        }
        sum += value;
        ++n;
    }
    void flush() {
        if (pixel >= 0) {
            store(image + pixel, sum / static_cast<double>(n));
        }
    }
};

// One sample with several features on a pixel.
template <class T, class O, class C>
FoldCounts fold_sample_mean(const DenseView& x, const char* row, const SlotView& slots, const Formula<C>* formula,
                            C row_scale, O* image) {
    FoldCounts counts;
    zero_pixels(image, 0, slots.n_pixels);
    PixelMean<O> mean{image};
    C value[tile_slots];
    for (std::int64_t at = 0; at < slots.n_slots; at += tile_slots) {
        const std::int64_t n = slots.n_slots - at < tile_slots ? slots.n_slots - at : tile_slots;
        load_tile<T>(row, x.feature_stride, slots, at, n, value);
        if (formula != nullptr) {
            const FoldCounts tile = normalise(*formula, at, n, row_scale, value);
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

template <class T, class O>
FoldCounts fold_dense_typed(const DenseView& x, const SlotView& slots, const NormalizeParameters& parameters, O* out,
                            int threads) {
    using C = Compute<T>;
    const Formula<C> formula(parameters);
    const Formula<C>* used = parameters.normalise ? &formula : nullptr;
    const std::int64_t per_chunk = slots.one_to_one ? chunk_slots : slots.n_slots;
    const std::int64_t n_chunks =
        per_chunk == 0 || slots.n_slots == 0 ? 1 : (slots.n_slots + per_chunk - 1) / per_chunk;
    std::int64_t missing = 0;
    std::int64_t negative = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : missing, negative)
    for (std::int64_t unit = 0; unit < x.n_samples * n_chunks; ++unit) {
        const std::int64_t i = unit / n_chunks;
        const std::int64_t first = (unit % n_chunks) * per_chunk;
        const std::int64_t end = slots.n_slots - first < per_chunk ? slots.n_slots : first + per_chunk;
        const char* row = static_cast<const char*>(x.data) + i * x.sample_stride;
        const C row_scale = parameters.row_scale != nullptr ? static_cast<C>(parameters.row_scale[i]) : C{1};
        O* image = out + i * slots.n_pixels;
        const FoldCounts counts = slots.one_to_one ? fold_chunk<T>(x, row, slots, used, row_scale, first, end, image)
                                                   : fold_sample_mean<T>(x, row, slots, used, row_scale, image);
        missing += counts.missing;
        negative += counts.negative;
    }
    return {missing, negative};
}

template <class F>
void with_output(const FoldOutput& out, F&& f) {
    switch (out.dtype) {
        case DType::f16:
            return f(static_cast<Half*>(out.data));
        case DType::bf16:
            return f(static_cast<BFloat*>(out.data));
        default:
            return f(static_cast<float*>(out.data));
    }
}

// Memory of one call. Not std::vector: see isa.hpp.
template <class T>
struct Buffer {
    explicit Buffer(std::int64_t n) : data(new T[static_cast<std::size_t>(n)]) {}
    ~Buffer() { delete[] data; }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    T* data;
};

inline std::int64_t thread_number() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

template <class C>
C normalise_one(const Formula<C>* formula, std::int64_t slot, C row_scale, C value, FoldCounts& counts) {
    if (formula != nullptr) {
        const FoldCounts one = normalise(*formula, slot, 1, row_scale, &value);
        counts.missing += one.missing;
        counts.negative += one.negative;
    }
    return value;
}

template <class T, class I, class O>
FoldCounts fold_csr_typed(const CsrView& x, const SlotView& slots, const std::int64_t* slot_of_feature,
                          const NormalizeParameters& parameters, O* out, int threads) {
    using C = Compute<T>;
    const Formula<C> formula(parameters);
    const Formula<C>* used = parameters.normalise ? &formula : nullptr;
    const T* values = static_cast<const T*>(x.values);
    const I* indices = static_cast<const I*>(x.indices);
    std::int64_t missing = 0;
    std::int64_t negative = 0;
    // An all-zero sample's value per slot, and (one feature per pixel) its image, from which every sample starts.
    // With several features on a pixel, every thread also needs room for the slots of one sample. All of it is taken
    // here: an exception must not leave a parallel region.
    const Buffer<C> zero_values(slots.n_slots);
    const Buffer<O> background_image(slots.n_pixels);
    const Buffer<C> dense_values(slots.one_to_one ? 0 : slots.n_slots * threads);
    C* zero = zero_values.data;
    O* background = background_image.data;
    zero_pixels(background, 0, slots.n_pixels);
    {
        FoldCounts ignored;
        PixelMean<O> mean{background};
        for (std::int64_t k = 0; k < slots.n_slots; ++k) {
            zero[k] = normalise_one(used, k, C{1}, C{0}, ignored);
            if (slots.one_to_one) {
                store(background + slots.pixel[k], zero[k]);
            } else {
                mean.add(slots.pixel[k], static_cast<double>(zero[k]));
            }
        }
        mean.flush();
    }
#pragma omp parallel for num_threads(threads) schedule(dynamic, 4) reduction(+ : missing, negative)
    for (std::int64_t i = 0; i < x.n_samples; ++i) {
        FoldCounts counts;
        const C row_scale = parameters.row_scale != nullptr ? static_cast<C>(parameters.row_scale[i]) : C{1};
        const std::int64_t start = x.row_start[i];
        const std::int64_t end = x.row_start[i + 1];
        O* image = out + i * slots.n_pixels;
        if (slots.one_to_one) {
            std::memcpy(static_cast<void*>(image), background, static_cast<std::size_t>(slots.n_pixels) * sizeof(O));
            for (std::int64_t e = start; e < end; ++e) {
                const std::int64_t slot = slot_of_feature[indices[e]];
                if (slot >= 0) {
                    store(image + slots.pixel[slot], normalise_one(used, slot, row_scale, widen<C>(values[e]), counts));
                }
            }
        } else {
            // The sample as dense slots, then the same means as for dense input: the same bits.
            C* dense = dense_values.data + thread_number() * slots.n_slots;
            std::memcpy(dense, zero, static_cast<std::size_t>(slots.n_slots) * sizeof(C));
            for (std::int64_t e = start; e < end; ++e) {
                const std::int64_t slot = slot_of_feature[indices[e]];
                if (slot >= 0) {
                    dense[slot] = normalise_one(used, slot, row_scale, widen<C>(values[e]), counts);
                }
            }
            zero_pixels(image, 0, slots.n_pixels);
            PixelMean<O> mean{image};
            for (std::int64_t k = 0; k < slots.n_slots; ++k) {
                mean.add(slots.pixel[k], static_cast<double>(dense[k]));
            }
            mean.flush();
        }
        missing += counts.missing;
        negative += counts.negative;
    }
    return {missing, negative};
}

}  // namespace

FoldCounts fold_dense(const DenseView& x, const SlotView& slots, const NormalizeParameters& parameters, FoldOutput out,
                      int threads) {
    FoldCounts counts;
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        with_output(out, [&](auto* images) { counts = fold_dense_typed<T>(x, slots, parameters, images, threads); });
    });
    return counts;
}

FoldCounts fold_csr(const CsrView& x, const SlotView& slots, const std::int64_t* slot_of_feature,
                    const NormalizeParameters& parameters, FoldOutput out, int threads) {
    FoldCounts counts;
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        with_output(out, [&](auto* images) {
            counts = x.wide_indices
                         ? fold_csr_typed<T, std::int64_t>(x, slots, slot_of_feature, parameters, images, threads)
                         : fold_csr_typed<T, std::int32_t>(x, slots, slot_of_feature, parameters, images, threads);
        });
    });
    return counts;
}

}  // namespace pixfold::PIXFOLD_ISA
