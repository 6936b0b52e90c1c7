#include "pixfold/column_stats.hpp"

#include "math/elements.hpp"
#include "math/moments.hpp"
#include "scratch.hpp"
#include "simd/log1p.hpp"
#include "simd/sums.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

// A tile is what one thread walks down the samples: wide, so that memory is read in long runs, and with its sums still
// in L2. It is worked on in pieces, `step_samples` samples at a time, so that a sum is loaded and stored once for all
// of them.
constexpr std::int64_t tile_features = 5120;
constexpr std::int64_t piece_features = 256;
constexpr std::int64_t step_samples = 8;
constexpr std::int64_t tile_pieces = tile_features / piece_features;

// What is known of a piece of a tile.
struct Piece {
    bool about_pivot;       // some feature's pivot is not 0 in this block
    bool watched;           // something was missing or infinite in the last block: the next is done carefully at once
    bool missing_before;    // a value was missing before this block
    bool negative_before;   // negative values were met: they are counted along with the sums
    bool suspect;           // something infinite was met while values were made
    std::int64_t negative;  // in this block
};

template <class C>
struct alignas(64) Tile {
    double sum[tile_features];     // of v - pivot, in this block
    double square[tile_features];  // of (v - pivot)^2
    double mean[tile_features];
    double m2[tile_features];
    C pivot[tile_features];
    C lift[tile_features];
    C lo[tile_features];
    C hi[tile_features];
    Counts<C> zeros[tile_features];
    Counts<C> missing[tile_features];          // before this block
    Counts<C> absent[tile_features];           // missing in this block, where that was looked at
    C value[step_samples * piece_features];    // v of a step, where it is not simply x in memory
    C element[step_samples * piece_features];  // and x, where v does not tell whether x is there
    Piece piece[tile_pieces];
};

// Samples packed within a row, in memory that promises no alignment.
struct Rows {
    const char* at;
    std::int64_t stride;

    Rows from(std::int64_t sample, std::int64_t byte) const { return {at + sample * stride + byte, stride}; }
};

// What the values are made of.
struct Recipe {
    explicit Recipe(const StatsArguments& a)
        : log(a.log),
          clip(a.clip_below_zero),
          moved(a.offset != nullptr || a.row_scale != nullptr || a.clip_below_zero),
          plain(!moved && !log),
          row_scale(a.row_scale) {}

    bool log;
    bool clip;
    bool moved;  // v == 0 does not mean x == 0
    bool plain;  // v is x
    const double* row_scale;
};

constexpr double nan_value = std::bit_cast<double>(std::uint64_t{0x7ff8000000000000u});

// What a step adds. Carefully: values may be missing or infinite.
struct Kind {
    bool about_pivot;
    bool zeros;
    bool negatives;
    bool careful;
};

// What a step finds in all its features together.
template <class F>
struct Found {
    Counts<F> negative{};
    Counts<F> infinite{};
};

// Adds `samples` values of each of as many features as F holds, number j of the piece whose sums begin at `at`. x are
// the samples themselves.
template <Kind kind, int samples, class F, class C>
[[gnu::always_inline]] inline void add_lanes(const Rows& v, const Rows& x, std::int64_t j, Tile<C>& t, std::int64_t at,
                                             Found<F>& found) {
    using D = Sums<F>;
    constexpr std::int64_t parts = parts_of<F>;
    constexpr std::int64_t width = lanes_of<D>;
    D sum[parts];
    D square[parts];
    D pivot[parts];
    for (std::int64_t part = 0; part < parts; ++part) {
        sum[part] = load_lanes<D>(t.sum + at + j + part * width);
        square[part] = load_lanes<D>(t.square + at + j + part * width);
        pivot[part] = doubles_at<D>(t.pivot + at + j + part * width);
    }
    F lo = load_lanes<F>(t.lo + at + j);
    F hi = load_lanes<F>(t.hi + at + j);
    Counts<F> zeros;
    Counts<F> absent;
    std::memcpy(&zeros, t.zeros + at + j, sizeof(zeros));
    std::memcpy(&absent, t.absent + at + j, sizeof(absent));
#pragma GCC unroll 4
    for (int i = 0; i < samples; ++i) {
        const C* values = reinterpret_cast<const C*>(v.at + i * v.stride) + j;
        const C* elements = reinterpret_cast<const C*>(x.at + i * x.stride) + j;
        const F value = load_lanes<F>(values);
        const F element = kind.careful ? load_lanes<F>(elements) : value;
        for (std::int64_t part = 0; part < parts; ++part) {
            D d = doubles_at<D>(values + part * width);
            if constexpr (kind.about_pivot) {
                d = d - pivot[part];
            }
            if constexpr (kind.careful) {
                const D e = doubles_at<D>(elements + part * width);
                d = e == e ? d : D{};
            }
            sum[part] = add(sum[part], d);
            square[part] = add_square(square[part], d);
        }
        lo = lower(lo, value);
        hi = higher(hi, value);
        if constexpr (kind.zeros) {
            zeros = count_where(zeros, element == F{});
        }
        if constexpr (kind.negatives) {
            found.negative = count_where(found.negative, element < F{});
        }
        if constexpr (kind.careful) {
            absent = count_where(absent, element != element);
            found.infinite = count_where(found.infinite, (element == element) & (element - element != F{}));
        }
    }
    for (std::int64_t part = 0; part < parts; ++part) {
        store_lanes<D>(t.sum + at + j + part * width, sum[part]);
        store_lanes<D>(t.square + at + j + part * width, square[part]);
    }
    store_lanes<F>(t.lo + at + j, lo);
    store_lanes<F>(t.hi + at + j, hi);
    if constexpr (kind.zeros) {
        std::memcpy(t.zeros + at + j, &zeros, sizeof(zeros));
    }
    if constexpr (kind.careful) {
        std::memcpy(t.absent + at + j, &absent, sizeof(absent));
    }
}

// Adds a step of n features, and fetches the bytes `ahead` of it, which are read next.
template <Kind kind, int samples, class C>
StatsCounts add_step(const Rows& v, const Rows& x, std::int64_t ahead, std::int64_t n, Tile<C>& t, std::int64_t at) {
    using F = Register<C>;
    constexpr std::int64_t line = 64 / static_cast<std::int64_t>(sizeof(C));
    Found<F> found;
    Found<C> rest;
    std::int64_t j = 0;
    for (; j + line <= n; j += line) {
        for (int i = 0; i < samples; ++i) {
            __builtin_prefetch(v.at + i * v.stride + j * static_cast<std::int64_t>(sizeof(C)) + ahead, 0, 2);
        }
#pragma GCC unroll 4
        for (std::int64_t k = 0; k < line; k += lanes_of<F>) {
            add_lanes<kind, samples>(v, x, j + k, t, at, found);
        }
    }
    for (; j + lanes_of<F> <= n; j += lanes_of<F>) {
        add_lanes<kind, samples>(v, x, j, t, at, found);
    }
    for (; j < n; ++j) {
        add_lanes<kind, samples>(v, x, j, t, at, rest);
    }
    return {total_of(found.negative) + total_of(rest.negative), total_of(found.infinite) + total_of(rest.infinite)};
}

template <Kind kind, class C>
StatsCounts add_samples(const Rows& v, const Rows& x, std::int64_t samples, std::int64_t ahead, std::int64_t n,
                        Tile<C>& t, std::int64_t at) {
    if (samples == step_samples) {
        return add_step<kind, step_samples>(v, x, ahead, n, t, at);
    }
    StatsCounts counts;
    for (std::int64_t i = 0; i < samples; ++i) {
        const StatsCounts one = add_step<kind, 1>(v.from(i, 0), x.from(i, 0), 0, n, t, at);
        counts.negative += one.negative;
        counts.infinite += one.infinite;
    }
    return counts;
}

// Chooses the pivot of every feature that has none (NaN) yet, from the step's values; of which it needs one.
template <class C>
bool choose_pivots(const Rows& v, std::int64_t samples, std::int64_t n, Tile<C>& t, std::int64_t at) {
    C first[piece_features];
    C low[piece_features];
    C high[piece_features];
    for (std::int64_t j = 0; j < n; ++j) {
        first[j] = static_cast<C>(nan_value);
        low[j] = static_cast<C>(HUGE_VAL);
        high[j] = -static_cast<C>(HUGE_VAL);
    }
    for (std::int64_t i = 0; i < samples; ++i) {
#pragma omp simd
        for (std::int64_t j = 0; j < n; ++j) {
            const C value = load<C>(v.at + i * v.stride, sizeof(C), j);
            first[j] = first[j] == first[j] ? first[j] : value;
            low[j] = value < low[j] ? value : low[j];
            high[j] = value > high[j] ? value : high[j];
        }
    }
    std::int32_t used = 0;
#pragma omp simd reduction(+ : used)
    for (std::int64_t j = 0; j < n; ++j) {
        const C size = -low[j] > high[j] ? -low[j] : high[j];
        // None yet where no value is there: the next step's are asked.
        const bool close = (high[j] - low[j]) * C{8} < size || first[j] != first[j];
        const C chosen = close ? first[j] : C{0};
        const C pivot = t.pivot[at + j] == t.pivot[at + j] ? t.pivot[at + j] : chosen;
        t.pivot[at + j] = pivot;
        used += pivot == C{0} ? 0 : 1;
    }
    return used > 0;
}

template <class C>
void open_block(Tile<C>& t, std::int64_t at, std::int64_t n) {
    for (std::int64_t j = at; j < at + n; ++j) {
        t.sum[j] = t.square[j] = 0.0;
        t.pivot[j] = static_cast<C>(nan_value);
        t.absent[j] = 0;
    }
}

// Merges the block: with d = v - pivot, its mean is pivot + sum d / n and its M2 is sum d^2 - (sum d)^2 / n.
template <class C>
void close_block(Tile<C>& t, bool missing, std::int64_t before, std::int64_t samples, std::int64_t at, std::int64_t n) {
    if (!missing) {
        const double here = static_cast<double>(samples);
        const double others = static_cast<double>(before);
        const double share = here / (others + here);
#pragma omp simd
        for (std::int64_t j = at; j < at + n; ++j) {
            const double shift = t.sum[j] / here;
            const double m2 = t.square[j] - t.sum[j] * shift;
            merge_moments(others, share, static_cast<double>(t.pivot[j]) + shift, m2 < 0.0 ? 0.0 : m2, t.mean[j],
                          t.m2[j]);
        }
        return;
    }
#pragma omp simd
    for (std::int64_t j = at; j < at + n; ++j) {
        const double here = static_cast<double>(samples - static_cast<std::int64_t>(t.absent[j]));
        const double others = static_cast<double>(before - static_cast<std::int64_t>(t.missing[j]));
        const bool any = here > 0.0;
        const double share = here / (others + (any ? here : 1.0));
        const double shift = t.sum[j] / (any ? here : 1.0);
        double m2 = t.square[j] - t.sum[j] * shift;
        m2 = m2 < 0.0 ? 0.0 : m2;
        merge_moments(others, share, any ? static_cast<double>(t.pivot[j]) + shift : t.mean[j], any ? m2 : 0.0,
                      t.mean[j], t.m2[j]);
        t.missing[j] += t.absent[j];
    }
}

template <class C, class Test>
bool any_of(const C* values, std::int64_t n, Test test) {
    std::int32_t found = 0;
#pragma omp simd reduction(+ : found)
    for (std::int64_t j = 0; j < n; ++j) {
        found += test(values[j]) ? 1 : 0;
    }
    return found > 0;
}

// The difference is NaN for an infinite number, and for NaN.
bool all_finite(const double* values, std::int64_t n) {
    return !any_of(values, n, [](double v) { return !(v - v == 0.0); });
}

template <class C>
bool any_negative(const C* values, std::int64_t n) {
    return any_of(values, n, [](C v) { return v < C{0}; });
}

// How many of n elements (plus their lift) are negative.
template <class T, class C>
std::int64_t count_negative(const char* row, const C* lift, std::int64_t n) {
    std::int32_t negative = 0;
#pragma omp simd reduction(+ : negative)
    for (std::int64_t j = 0; j < n; ++j) {
        negative += widen<C>(load<T>(row, sizeof(T), j)) + lift[j] < C{0} ? 1 : 0;
    }
    return negative;
}

template <class T>
void widen_row(const char* row, std::int64_t n, Compute<T>* value) {
    for (std::int64_t j = 0; j < n; ++j) {
        value[j] = widen<Compute<T>>(load<T>(row, sizeof(T), j));
    }
}

// The samples of a tile one after the other, whatever the strides: along the smaller stride, a few lines of memory of
// the other direction at a time.
template <class T>
void pack(const char* at, const DenseView& x, std::int64_t samples, std::int64_t n, std::int64_t width, char* packed) {
    const std::int64_t along = x.feature_stride < 0 ? -x.feature_stride : x.feature_stride;
    const std::int64_t across = x.sample_stride < 0 ? -x.sample_stride : x.sample_stride;
    const std::int64_t together = along <= across ? n : 16;
    for (std::int64_t j = 0; j < n; j += together) {
        const std::int64_t end = n - j < together ? n : j + together;
        for (std::int64_t i = 0; i < samples; ++i) {
            const char* row = at + i * x.sample_stride;
            T* to = reinterpret_cast<T*>(packed) + i * width;
            for (std::int64_t k = j; k < end; ++k) {
                to[k] = load<T>(row, x.feature_stride, k);
            }
        }
    }
}

// How elements of the input's type are read: the one place that knows it, so that all else is compiled for the type
// that it computes in alone.
template <class C>
struct Elements {
    bool plain;  // the input's type is C
    std::int64_t size;
    void (*widen)(const char* row, std::int64_t n, C* value);
    std::int64_t (*count_negative)(const char* row, const C* lift, std::int64_t n);
    void (*pack)(const char* at, const DenseView&, std::int64_t samples, std::int64_t n, std::int64_t width,
                 char* packed);
};

template <class T>
constexpr Elements<Compute<T>> elements_of{std::is_same_v<T, Compute<T>>, sizeof(T), widen_row<T>,
                                           count_negative<T, Compute<T>>, pack<T>};

// One tile of a matrix whose samples are packed, block after block.
template <class C>
class Walk {
  public:
    Walk(Tile<C>& tile, const Elements<C>& elements, const StatsArguments& a, std::int64_t first, std::int64_t n)
        : t_(tile), elements_(elements), recipe_(a), direct_(recipe_.plain && elements.plain), n_(n) {
        for (std::int64_t j = 0; j < n; ++j) {
            t_.mean[j] = t_.m2[j] = 0.0;
            t_.lift[j] = a.offset != nullptr ? static_cast<C>(a.offset[first + j]) : C{0};
            t_.lo[j] = static_cast<C>(HUGE_VAL);
            t_.hi[j] = -static_cast<C>(HUGE_VAL);
            t_.zeros[j] = t_.missing[j] = 0;
        }
        for (Piece& piece : t_.piece) {
            piece = {};
        }
    }

    // Adds the next `samples` samples, of which the first is number i of all; after them `following` more lie in
    // memory.
    void add_block(const Rows& x, std::int64_t i, std::int64_t samples, std::int64_t following) {
        for (std::int64_t step = 0; step < samples; step += step_samples) {
            const std::int64_t here = samples - step < step_samples ? samples - step : step_samples;
            const std::int64_t left = samples + following - step;
            const std::int64_t ahead = left >= 2 * step_samples ? step_samples * x.stride : 0;
            for_pieces([&](Piece& piece, std::int64_t at, std::int64_t n) {
                if (step == 0) {
                    open_block(t_, at, n);
                    piece.negative = 0;
                    piece.suspect = false;
                }
                if (piece.watched) {
                    return;
                }
                const Rows v =
                    values(x.from(step, at * elements_.size), i + step, here, ahead, piece, at, n, true, false);
                if (step == 0) {
                    piece.about_pivot = choose_pivots(v, here, n, t_, at);
                }
                piece.negative += add(v, here, direct_ ? ahead : 0, piece, at, n).negative;
            });
        }
        for_pieces([&](Piece& piece, std::int64_t at, std::int64_t n) {
            if (piece.watched || piece.suspect || !all_finite(t_.sum + at, n)) {
                add_carefully(x.from(0, at * elements_.size), i, samples, piece, at, n);
            } else if (recipe_.plain && !piece.negative_before && any_negative(t_.lo + at, n)) {
                for (std::int64_t k = 0; k < samples; ++k) {
                    piece.negative +=
                        elements_.count_negative(x.at + k * x.stride + at * elements_.size, t_.lift + at, n);
                }
                piece.negative_before = true;
            }
            counts_.negative += piece.negative;
            close_block(t_, piece.missing_before, before_, samples, at, n);
        });
        before_ += samples;
    }

    // Of the samples so far.
    FeatureStats stats(std::int64_t j) const {
        return {static_cast<double>(t_.lo[j]),          static_cast<double>(t_.hi[j]),           t_.mean[j], t_.m2[j],
                static_cast<std::int64_t>(t_.zeros[j]), static_cast<std::int64_t>(t_.missing[j])};
    }
    StatsCounts counts() const { return counts_; }

  private:
    template <class F>
    void for_pieces(F&& f) {
        for (std::int64_t at = 0; at < n_; at += piece_features) {
            f(t_.piece[at / piece_features], at, n_ - at < piece_features ? n_ - at : piece_features);
        }
    }

    // v of a step of a piece: where x is, or made in the tile. Counts what making them destroys, unless they are made
    // for the second time.
    Rows values(const Rows& x, std::int64_t i, std::int64_t samples, std::int64_t ahead, Piece& piece, std::int64_t at,
                std::int64_t n, bool once, bool keep_elements) {
        if (direct_) {
            return x;
        }
        for (std::int64_t k = 0; k < samples; ++k) {
            const char* row = x.at + k * x.stride;
            C* value = t_.value + k * piece_features;
            for (std::int64_t byte = 0; byte < n * elements_.size; byte += 64) {
                __builtin_prefetch(row + byte + ahead, 0, 2);
            }
            elements_.widen(row, n, value);
            if (keep_elements) {
                std::memcpy(t_.element + k * piece_features, value, static_cast<std::size_t>(n) * sizeof(C));
            }
            if (!recipe_.plain) {
                make_values(row, value, i + k, piece, at, n, once);
            }
        }
        return {reinterpret_cast<const char*>(t_.value), piece_features * static_cast<std::int64_t>(sizeof(C))};
    }

    void make_values(const char* row, C* value, std::int64_t i, Piece& piece, std::int64_t at, std::int64_t n,
                     bool once) {
        const C* lift = t_.lift + at;
        C lowest = static_cast<C>(HUGE_VAL);
        if (recipe_.moved) {
            const C scale = recipe_.row_scale != nullptr ? static_cast<C>(recipe_.row_scale[i]) : C{1};
            const C floor = recipe_.clip ? C{0} : -static_cast<C>(HUGE_VAL);
            const Counts<C> one = once ? 1 : 0;
            Counts<C>* zeros = t_.zeros + at;
#pragma omp simd reduction(min : lowest)
            for (std::int64_t j = 0; j < n; ++j) {
                zeros[j] += value[j] == C{0} ? one : Counts<C>{0};
                const C lifted = value[j] + lift[j];
                lowest = lifted < lowest ? lifted : lowest;
                const C argument = lifted * scale;
                value[j] = argument < floor ? floor : argument;
            }
        }
        const bool regular = !recipe_.log || log1p_tile(value, value, n);
        if (once && (lowest < C{0} || (!recipe_.moved && !regular))) {
            piece.negative += elements_.count_negative(row, lift, n);
            // A clipped value no longer shows that it was infinite.
            piece.suspect = piece.suspect || lowest == -static_cast<C>(HUGE_VAL);
        }
    }

    // Zeros and negative values are counted with the sums where v tells of them: zeros are where v is not moved,
    // negative values where v is x.
    StatsCounts add(const Rows& v, std::int64_t samples, std::int64_t ahead, const Piece& piece, std::int64_t at,
                    std::int64_t n) {
        const auto with = [&]<bool zeros, bool negatives>() {
            constexpr Kind plain{false, zeros, negatives, false}, about_pivot{true, zeros, negatives, false};
            return piece.about_pivot ? add_samples<about_pivot>(v, v, samples, ahead, n, t_, at)
                                     : add_samples<plain>(v, v, samples, ahead, n, t_, at);
        };
        if (recipe_.moved) {
            return with.template operator()<false, false>();
        }
        return recipe_.plain && piece.negative_before ? with.template operator()<true, true>()
                                                      : with.template operator()<true, false>();
    }

    // A block of a piece in which something is missing or infinite, or may be. A piece that was not watched has been
    // gone through before: its zeros, and the negative values of `make_values`, are counted.
    void add_carefully(const Rows& x, std::int64_t i, std::int64_t samples, Piece& piece, std::int64_t at,
                       std::int64_t n) {
        const bool once = piece.watched;
        StatsCounts counts;
        bool chosen = false;
        open_block(t_, at, n);
        for (std::int64_t step = 0; step < samples; step += step_samples) {
            const std::int64_t here = samples - step < step_samples ? samples - step : step_samples;
            const Rows v = values(x.from(step, 0), i + step, here, 0, piece, at, n, once, !recipe_.plain);
            const Rows element{recipe_.plain ? v.at : reinterpret_cast<const char*>(t_.element), v.stride};
            if (!chosen) {
                choose_pivots(v, here, n, t_, at);
                chosen = !any_of(t_.pivot + at, n, [](C pivot) { return pivot != pivot; });
            }
            constexpr Kind sums{true, false, true, true}, with_zeros{true, true, true, true};
            const StatsCounts found = once && !recipe_.moved ? add_samples<with_zeros>(v, element, here, 0, n, t_, at)
                                                             : add_samples<sums>(v, element, here, 0, n, t_, at);
            counts.negative += found.negative;
            counts.infinite += found.infinite;
        }
        if (recipe_.plain) {
            piece.negative = counts.negative;
        }
        counts_.infinite += counts.infinite;
        const bool missing = any_of(t_.absent + at, n, [](Counts<C> absent) { return absent != 0; });
        piece.missing_before = piece.missing_before || missing;
        piece.watched = missing || counts.infinite > 0;
    }

    Tile<C>& t_;
    const Elements<C>& elements_;
    const Recipe recipe_;
    const bool direct_;
    const std::int64_t n_;
    std::int64_t before_ = 0;
    StatsCounts counts_;
};

constexpr std::int64_t round_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

// As wide as fits, and as narrow as it takes to give every thread the same number of tiles.
std::int64_t tile_width(std::int64_t n_features, std::int64_t n_segments, std::int64_t widest, int threads) {
    const std::int64_t least = (n_features + widest - 1) / widest;
    const std::int64_t tiles = n_segments >= 4 * threads ? least : round_up(least, threads);
    const std::int64_t width = round_up((n_features + tiles - 1) / tiles, 64);
    return width < widest ? width : widest;
}

template <class C>
StatsCounts stats_of(const DenseView& x, const Elements<C>& elements, const StatsArguments& a, const StatsOutput& out,
                     int threads) {
    if (x.n_features == 0) {
        return {};
    }
    const bool packed = x.feature_stride == elements.size;
    const std::int64_t n_segments =
        x.n_samples <= stats_segment ? 1 : (x.n_samples + stats_segment - 1) / stats_segment;
    const std::int64_t width = tile_width(x.n_features, n_segments, packed ? tile_features : piece_features, threads);
    const std::int64_t n_tiles = (x.n_features + width - 1) / width;
    const Buffer<Tile<C>> tiles(threads);
    const Buffer<char> packings(packed ? 0 : threads * stats_block * width * elements.size);
    const Buffer<FeatureStats> parts(n_segments == 1 ? 0 : n_segments * x.n_features);
    std::int64_t negative = 0;
    std::int64_t infinite = 0;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) reduction(+ : negative, infinite)
    for (std::int64_t unit = 0; unit < n_tiles * n_segments; ++unit) {
        const std::int64_t segment = unit / n_tiles;
        const std::int64_t first = unit % n_tiles * width;
        const std::int64_t n = x.n_features - first < width ? x.n_features - first : width;
        const std::int64_t start = segment * stats_segment;
        const std::int64_t end = x.n_samples - start < stats_segment ? x.n_samples : start + stats_segment;
        char* packing = packings.data + thread_number() * stats_block * width * elements.size;
        Walk<C> walk(tiles.data[thread_number()], elements, a, first, n);
        for (std::int64_t i = start; i < end; i += stats_block) {
            const std::int64_t samples = end - i < stats_block ? end - i : stats_block;
            const char* at = static_cast<const char*>(x.data) + i * x.sample_stride + first * x.feature_stride;
            if (packed) {
                walk.add_block({at, x.sample_stride}, i, samples, end - i - samples);
            } else {
                elements.pack(at, x, samples, n, width, packing);
                walk.add_block({packing, width * elements.size}, i, samples, 0);
            }
        }
        for (std::int64_t j = 0; j < n; ++j) {
            if (n_segments == 1) {
                write_stats(walk.stats(j), x.n_samples, first + j, out);
            } else {
                parts.data[segment * x.n_features + first + j] = walk.stats(j);
            }
        }
        negative += walk.counts().negative;
        infinite += walk.counts().infinite;
    }
    if (n_segments > 1) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (std::int64_t j = 0; j < x.n_features; ++j) {
            FeatureStats all = parts.data[j];
            for (std::int64_t segment = 1; segment < n_segments; ++segment) {
                const std::int64_t before = segment * stats_segment;
                const std::int64_t left = x.n_samples - before;
                merge_stats(all, before, parts.data[segment * x.n_features + j],
                            left < stats_segment ? left : stats_segment);
            }
            write_stats(all, x.n_samples, j, out);
        }
    }
    return {negative, infinite};
}

}  // namespace

StatsCounts column_stats_dense(const DenseView& x, const StatsArguments& a, const StatsOutput& out, int threads) {
    StatsCounts counts;
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        counts = stats_of(x, elements_of<T>, a, out, threads);
    });
    return counts;
}

}  // namespace pixfold::PIXFOLD_ISA
