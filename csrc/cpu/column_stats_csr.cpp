#include "math/elements.hpp"
#include "math/moments.hpp"
#include "math/seek.hpp"
#include "pixfold/column_stats.hpp"
#include "scratch.hpp"
#include "simd/log1p.hpp"
#include "simd/sums.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

constexpr std::int64_t tile_values = 256;

// The sums of a feature's current block of stored values, about the first of them: one cache line holds two features.
template <class C>
struct alignas(sizeof(C) == 4 ? 32 : 16) Cell {
    double sum;
    double square;
    C pivot;
    C lo;
    C hi;
    std::int32_t n;
};

// The blocks before, and what is looked at less often.
struct Blocks {
    double mean;
    double m2;
    std::int64_t n;
    std::int64_t missing;
};

template <class C>
void close_cell(Cell<C>& cell, Blocks& blocks) {
    if (cell.n == 0) {
        return;
    }
    const double here = static_cast<double>(cell.n);
    const double before = static_cast<double>(blocks.n);
    const double shift = cell.sum / here;
    const double m2 = cell.square - cell.sum * shift;
    merge_moments(before, here / (before + here), static_cast<double>(cell.pivot) + shift, m2 < 0.0 ? 0.0 : m2,
                  blocks.mean, blocks.m2);
    blocks.n += cell.n;
    cell.sum = cell.square = 0.0;
    cell.n = 0;
}

template <class C>
inline void add_value(Cell<C>& cell, Blocks* blocks, std::int64_t j, C v) {
    if (cell.n == stats_block) [[unlikely]] {
        close_cell(cell, blocks[j]);
    }
    cell.pivot = cell.n == 0 ? v : cell.pivot;
    const double d = static_cast<double>(v) - static_cast<double>(cell.pivot);
    cell.sum += d;
    cell.square = add_square(cell.square, d);
    cell.lo = lower(cell.lo, v);
    cell.hi = higher(cell.hi, v);
    ++cell.n;
}

// The features of one thread, in the stored values of all rows.
template <class T, class I>
class Share {
  public:
    using C = Compute<T>;

    Share(const CsrView& x, const StatsArguments& a, Cell<C>* cells, Blocks* blocks, std::int64_t first,
          std::int64_t last)
        : x_(x),
          a_(a),
          values_(static_cast<const T*>(x.values)),
          indices_(static_cast<const I*>(x.indices)),
          cells_(cells),
          blocks_(blocks),
          first_(first),
          last_(last),
          floor_(a.clip_below_zero ? C{0} : -static_cast<C>(HUGE_VAL)) {
        for (std::int64_t j = first; j < last; ++j) {
            cells_[j] = {0.0, 0.0, C{0}, static_cast<C>(HUGE_VAL), -static_cast<C>(HUGE_VAL), 0};
            blocks_[j] = {0.0, 0.0, 0, 0};
        }
    }

    void add_rows() {
        // Where in its row the share begins and ends, of all its entries: rows are alike.
        double begin = 0.5;
        double end = 0.5;
        for (std::int64_t i = 0; i < x_.n_samples; ++i) {
            const std::int64_t start = x_.row_start[i];
            const std::int64_t stop = x_.row_start[i + 1];
            const std::int64_t from = first_ == 0 ? start : edge(start, stop, begin, first_);
            const std::int64_t to = last_ == x_.n_features ? stop : edge(start, stop, end, last_);
            if (i + 1 < x_.n_samples) {
                const auto next = static_cast<double>(x_.row_start[i + 2] - stop);
                const std::int64_t e = stop + static_cast<std::int64_t>(begin * next);
                __builtin_prefetch(indices_ + e);
                __builtin_prefetch(values_ + e);
            }
            const C scale = a_.row_scale != nullptr ? static_cast<C>(a_.row_scale[i]) : C{1};
            for (std::int64_t e = from; e < to; e += tile_values) {
                add_tile(e, to - e < tile_values ? to - e : tile_values, to, scale);
            }
        }
    }

    // Merges the zeros that are not stored, as one block of equal values, and writes.
    void write(const StatsOutput& out) {
        for (std::int64_t j = first_; j < last_; ++j) {
            Cell<C>& cell = cells_[j];
            Blocks& blocks = blocks_[j];
            close_cell(cell, blocks);
            const std::int64_t zeros = x_.n_samples - blocks.n - blocks.missing;
            FeatureStats stats{static_cast<double>(cell.lo),
                               static_cast<double>(cell.hi),
                               blocks.mean,
                               blocks.m2,
                               zeros,
                               blocks.missing};
            if (zeros > 0) {
                const C lifted = a_.offset != nullptr ? static_cast<C>(a_.offset[j]) : C{0};
                C argument = lifted < floor_ ? floor_ : lifted;
                argument = a_.log ? log1p(argument) : argument;
                const double v = static_cast<double>(argument);
                const double before = static_cast<double>(blocks.n);
                const double added = static_cast<double>(zeros);
                merge_moments(before, added / (before + added), v, 0.0, stats.mean, stats.m2);
                stats.min = v < stats.min ? v : stats.min;
                stats.max = v > stats.max ? v : stats.max;
                counts_.negative += lifted < C{0} ? zeros : 0;
            }
            write_stats(stats, x_.n_samples, j, out);
        }
    }
    StatsCounts counts() const { return counts_; }

  private:
    std::int64_t edge(std::int64_t start, std::int64_t stop, double& place, std::int64_t feature) const {
        const auto n = static_cast<double>(stop - start);
        const std::int64_t at = seek(indices_, start, stop, start + static_cast<std::int64_t>(place * n), feature);
        place = stop > start ? static_cast<double>(at - start) / (n + 1.0) : place;
        return at;
    }

    void add_tile(std::int64_t e, std::int64_t n, std::int64_t end, C scale) {
        C element[tile_values];
        C value[tile_values];
        const I* index = indices_ + e;
        std::int32_t negative = 0;
        std::int32_t special = 0;  // zero, missing or infinite
#pragma omp simd reduction(+ : special, negative)
        for (std::int64_t k = 0; k < n; ++k) {
            element[k] = widen<C>(values_[e + k]);
            special += (element[k] - element[k] != C{0}) | (element[k] == C{0}) ? 1 : 0;
            negative += element[k] < C{0} ? 1 : 0;
        }
        if (a_.offset == nullptr) {
            counts_.negative += negative;
#pragma omp simd
            for (std::int64_t k = 0; k < n; ++k) {
                const C argument = element[k] * scale;
                value[k] = argument < floor_ ? floor_ : argument;
            }
        } else {
            for (std::int64_t k = 0; k < n; ++k) {
                const C lifted = element[k] + static_cast<C>(a_.offset[index[k]]);
                const C argument = lifted * scale;
                // A stored zero is counted with the others.
                counts_.negative += lifted < C{0} && element[k] != C{0} ? 1 : 0;
                value[k] = argument < floor_ ? floor_ : argument;
            }
        }
        if (a_.log) {
            log1p_tile(value, value, n);
        }
        // Cells are asked for early: the next entries of a row lie far apart.
        constexpr std::int64_t early = 16;
        if (special == 0) {
            const std::int64_t asked = end - e - early;
            for (std::int64_t k = 0; k < n; ++k) {
                __builtin_prefetch(cells_ + index[k < asked ? k + early : k], 1);
                add_value(cells_[index[k]], blocks_, static_cast<std::int64_t>(index[k]), value[k]);
            }
            return;
        }
        for (std::int64_t k = 0; k < n; ++k) {
            const auto j = static_cast<std::int64_t>(index[k]);
            if (element[k] != element[k]) {
                ++blocks_[j].missing;
            } else if (element[k] != C{0}) {
                counts_.infinite += element[k] - element[k] != C{0} ? 1 : 0;
                add_value(cells_[j], blocks_, j, value[k]);
            }
        }
    }

    const CsrView& x_;
    const StatsArguments& a_;
    const T* values_;
    const I* indices_;
    Cell<C>* cells_;
    Blocks* blocks_;
    const std::int64_t first_;
    const std::int64_t last_;
    const C floor_;
    StatsCounts counts_;
};

// Cuts the features into one range per thread, with about as many stored values each as a few of the rows say.
template <class I>
void cut_features(const CsrView& x, std::int64_t threads, std::int64_t* cuts) {
    constexpr std::int64_t looked_at = 32;
    const I* indices = static_cast<const I*>(x.indices);
    cuts[0] = 0;
    cuts[threads] = x.n_features;
    for (std::int64_t part = 1; part < threads; ++part) {
        double sum = 0.0;
        std::int64_t rows = 0;
        for (std::int64_t k = 0; k < looked_at; ++k) {
            const std::int64_t i = k * x.n_samples / looked_at;
            const std::int64_t start = x.row_start[i];
            const std::int64_t n = x.row_start[i + 1] - start;
            if (n >= threads) {
                sum += static_cast<double>(indices[start + n / threads * part]);
                ++rows;
            }
        }
        const std::int64_t even = x.n_features / threads * part;
        const std::int64_t cut = rows > 0 ? static_cast<std::int64_t>(sum / static_cast<double>(rows)) : even;
        cuts[part] = cut > cuts[part - 1] ? cut : cuts[part - 1];
    }
}

template <class T, class I>
StatsCounts csr_typed(const CsrView& x, const StatsArguments& a, const StatsOutput& out, int threads) {
    const Buffer<Cell<Compute<T>>> cells(x.n_features);
    const Buffer<Blocks> blocks(x.n_features);
    const Buffer<std::int64_t> cuts(threads + 1);
    if (x.n_samples == 0) {
        threads = 1;
        cuts.data[0] = 0;
        cuts.data[1] = x.n_features;
    } else {
        cut_features<I>(x, threads, cuts.data);
    }
    std::int64_t negative = 0;
    std::int64_t infinite = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : negative, infinite)
    for (int part = 0; part < threads; ++part) {
        Share<T, I> share(x, a, cells.data, blocks.data, cuts.data[part], cuts.data[part + 1]);
        share.add_rows();
        share.write(out);
        negative += share.counts().negative;
        infinite += share.counts().infinite;
    }
    return {negative, infinite};
}

}  // namespace

StatsCounts column_stats_csr(const CsrView& x, const StatsArguments& a, const StatsOutput& out, int threads) {
    StatsCounts counts;
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        counts = x.wide_indices ? csr_typed<T, std::int64_t>(x, a, out, threads)
                                : csr_typed<T, std::int32_t>(x, a, out, threads);
    });
    return counts;
}

}  // namespace pixfold::PIXFOLD_ISA
