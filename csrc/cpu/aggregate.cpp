#include "pixfold/aggregate.hpp"

#include "images.hpp"
#include "math/elements.hpp"
#include "math/pixel_moments.hpp"
#include "simd/sums.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

constexpr int most_rows = 8;  // added at once: their pivots and sums are loaded and stored once
// Pivots and sums of a tile take 128 KiB of L2, and a row's piece of it is long enough (16 KiB of float32) for the
// processor to fetch ahead. Software prefetching and tiles that fit in L1 were slower.
constexpr std::int64_t most_pixels = 4096;
constexpr std::int64_t most_summed = 1024;  // where rows are gathered in a buffer of their own first

struct Tile {
    std::int64_t first;
    std::int64_t n;
    alignas(cache_line) double pivot[most_pixels];
    alignas(cache_line) double sum[most_pixels];
    alignas(cache_line) double square[most_pixels];
    alignas(cache_line) double absolute[most_pixels];
};

template <class F>
inline F magnitude(F x) {
    return from_bits<F>(bits_of(x) & 0x7fffffffffffffffu);
}

// Adds R rows to the sums of pixels from p on, as many as F holds at once; returns the first pixel that is left. The
// same bits as one row after the other.
template <int R, class F, class V>
inline std::int64_t add_rows(const V* const (&row)[R], std::int64_t p, Tile& tile) {
    for (; p + lanes_of<F> <= tile.n; p += lanes_of<F>) {
        const F pivot = load_lanes<F>(tile.pivot + p);
        F sum = load_lanes<F>(tile.sum + p);
        F square = load_lanes<F>(tile.square + p);
        F absolute = load_lanes<F>(tile.absolute + p);
        for (int r = 0; r < R; ++r) {
            const F value = doubles_at<F>(row[r] + p);
            const F d = value - pivot;
            sum = add(sum, d);
            square = add_square(square, d);
            absolute = add(absolute, magnitude(value));
        }
        store_lanes(tile.sum + p, sum);
        store_lanes(tile.square + p, square);
        store_lanes(tile.absolute + p, absolute);
    }
    return p;
}

template <int R, class V>
void add_rows(const V* const (&rows)[most_rows], Tile& tile) {
    const V* row[R];
    for (int r = 0; r < R; ++r) {
        row[r] = rows[r];
    }
    const std::int64_t left = add_rows<R, Doubles>(row, 0, tile);
    add_rows<R, double>(row, left, tile);
}

template <class V>
void add_rows(int n_rows, const V* const (&rows)[most_rows], Tile& tile) {
    switch (n_rows) {
        case 1:
            return add_rows<1>(rows, tile);
        case 2:
            return add_rows<2>(rows, tile);
        case 3:
            return add_rows<3>(rows, tile);
        case 4:
            return add_rows<4>(rows, tile);
        case 5:
            return add_rows<5>(rows, tile);
        case 6:
            return add_rows<6>(rows, tile);
        case 7:
            return add_rows<7>(rows, tile);
        default:
            return add_rows<most_rows>(rows, tile);
    }
}

// Rows of one channel of float or double, where they are.
template <class T>
class PlainRows {
  public:
    static constexpr std::int64_t pixels = most_pixels;
    explicit PlainRows(const AggregateArguments& a) : data_(static_cast<const T*>(a.attributions)), size_(a.n_pixels) {}
    const T* piece(int, std::int64_t sample, const Tile& tile) const { return data_ + sample * size_ + tile.first; }

  private:
    const T* data_;
    std::int64_t size_;
};

// Rows of several channels, or of 16-bit numbers: their sums in double, a buffer for each row of a group.
template <class T>
class SummedRows {
  public:
    static constexpr std::int64_t pixels = most_summed;
    explicit SummedRows(const AggregateArguments& a)
        : data_(static_cast<const T*>(a.attributions)), n_channels_(a.n_channels), n_pixels_(a.n_pixels) {}
    const double* piece(int row, std::int64_t sample, const Tile& tile) {
        const T* channel = data_ + sample * n_channels_ * n_pixels_ + tile.first;
        double* out = buffer_[row];
        for (std::int64_t p = 0; p < tile.n; ++p) {
            out[p] = widen<double>(channel[p]);
        }
        for (std::int64_t c = 1; c < n_channels_; ++c) {
            channel += n_pixels_;
            for (std::int64_t p = 0; p < tile.n; ++p) {
                out[p] += widen<double>(channel[p]);
            }
        }
        return out;
    }

  private:
    const T* data_;
    std::int64_t n_channels_;
    std::int64_t n_pixels_;
    alignas(cache_line) double buffer_[most_rows][most_summed];
};

template <class Rows>
void sum_class(const ClassSamples& c, Rows& source, Tile& tile) {
    if (c.seen > 0) {
        std::memcpy(tile.pivot, c.before + tile.first, static_cast<std::size_t>(tile.n) * sizeof(double));
    } else {
        const auto* row = source.piece(0, c.samples[0], tile);
        for (std::int64_t p = 0; p < tile.n; ++p) {
            tile.pivot[p] = static_cast<double>(row[p]);
        }
    }
    for (std::int64_t p = 0; p < tile.n; ++p) {
        tile.sum[p] = tile.square[p] = tile.absolute[p] = 0.0;
    }
    for (std::int64_t i = 0; i < c.n_samples; i += most_rows) {
        const int n_rows = static_cast<int>(c.n_samples - i < most_rows ? c.n_samples - i : most_rows);
        decltype(source.piece(0, 0, tile)) rows[most_rows];
        for (int r = 0; r < n_rows; ++r) {
            rows[r] = source.piece(r, c.samples[i + r], tile);
        }
        add_rows(n_rows, rows, tile);
    }
}

// Turns the sums into the new moments, in place; returns how many of them are not finite. `m2` and `mean_abs` are
// those before, where some were seen.
template <bool seen>
std::int64_t close_class(const ClassSamples& c, const double* m2, const double* mean_abs, Tile& tile) {
    const ClassWeights weights(c.seen, c.n_samples);
    std::int64_t bad = 0;
#pragma omp simd reduction(+ : bad)
    for (std::int64_t p = 0; p < tile.n; ++p) {
        const PixelSums sums{tile.sum[p], tile.square[p], tile.absolute[p]};
        const PixelMoments after =
            moments_after(weights, tile.pivot[p], sums, seen ? m2[p] : 0.0, seen ? mean_abs[p] : 0.0);
        bad += finite(sums, after) ? 0 : 1;
        tile.sum[p] = after.mean;
        tile.square[p] = after.m2;
        tile.absolute[p] = after.mean_abs;
    }
    return bad;
}

constexpr std::int64_t far_state = std::int64_t{32} << 20;

void write(const double* from, std::int64_t n, double* to, bool stream) {
    if (stream) {
        stream_image(from, n, to);
    } else {
        std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(double));
    }
}

template <class Rows>
bool aggregate_rows(const AggregateArguments& a, int threads) {
    // The next batch reads the state: 10 classes of 18,225 pixels (4.4 MB) took 0.42 ms so, and 0.64 past the caches.
    const bool stream = streams(a.n_classes * 3 * a.n_pixels * static_cast<std::int64_t>(sizeof(double)), far_state);
    // Whole cache lines, and several tiles for each thread of a small image.
    constexpr std::int64_t line = cache_line / static_cast<std::int64_t>(sizeof(double));
    const std::int64_t wanted = (a.n_pixels / (4 * threads) / line + 1) * line;
    const std::int64_t pixels = wanted < Rows::pixels ? wanted : Rows::pixels;
    const std::int64_t n_tiles = (a.n_pixels + pixels - 1) / pixels;
    std::int64_t bad = 0;
#pragma omp parallel num_threads(threads) reduction(+ : bad)
    {
        Rows source(a);
        Tile tile;
#pragma omp for schedule(static)
        for (std::int64_t t = 0; t < n_tiles; ++t) {
            tile.first = t * pixels;
            tile.n = a.n_pixels - tile.first < pixels ? a.n_pixels - tile.first : pixels;
            for (std::int64_t k = 0; k < a.n_classes; ++k) {
                const ClassSamples& c = a.classes[k];
                sum_class(c, source, tile);
                if (c.seen > 0) {
                    const double* m2 = c.before + a.n_pixels + tile.first;
                    bad += close_class<true>(c, m2, m2 + a.n_pixels, tile);
                } else {
                    bad += close_class<false>(c, nullptr, nullptr, tile);
                }
                double* out = c.after + tile.first;
                write(tile.sum, tile.n, out, stream);
                write(tile.square, tile.n, out + a.n_pixels, stream);
                write(tile.absolute, tile.n, out + 2 * a.n_pixels, stream);
            }
        }
        if (stream) {
            fence_streams();
        }
    }
    return bad == 0;
}

}  // namespace

bool aggregate(const AggregateArguments& a, int threads) {
    switch (a.dtype) {
        case DType::f64:
            return a.n_channels == 1 ? aggregate_rows<PlainRows<double>>(a, threads)
                                     : aggregate_rows<SummedRows<double>>(a, threads);
        case DType::f16:
            return aggregate_rows<SummedRows<Half>>(a, threads);
        case DType::bf16:
            return aggregate_rows<SummedRows<BFloat>>(a, threads);
        default:
            return a.n_channels == 1 ? aggregate_rows<PlainRows<float>>(a, threads)
                                     : aggregate_rows<SummedRows<float>>(a, threads);
    }
}

}  // namespace pixfold::PIXFOLD_ISA
