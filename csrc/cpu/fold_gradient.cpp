// fold_gradient: the slots of a sample go by tiles, as in fold; each tile's derivatives are worked out in L1 and
// written to their features.
#include "pixfold/fold_gradient.hpp"

#include "dense_rows.hpp"
#include "normalise.hpp"
#include "scratch.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

constexpr std::int64_t chunk_slots = tile_slots * 64;  // the part of a sample that one thread takes at a time
static_assert(sum_run % tile_slots == 0 && tile_slots % sum_lanes == 0);

// The sum over a sample's slots, from its tiles in order.
template <class C>
struct SumOfSlots {
    double lane[sum_lanes] = {};
    double runs = 0.0;
    std::int64_t slots = 0;

    void add(std::int64_t n, const C* derivative, const C* lifted) {
        for (std::int64_t at = 0; at < n; at += sum_lanes) {
            const std::int64_t here = n - at < sum_lanes ? n - at : sum_lanes;
            for (std::int64_t k = 0; k < here; ++k) {
                lane[k] += moved_through_sum(derivative[at + k], lifted[at + k]);
            }
        }
        slots += n;
        if (slots % sum_run == 0) {
            end_run();
        }
    }
    double total() {
        if (slots % sum_run != 0) {
            end_run();
        }
        return runs;
    }

  private:
    void end_run() {
        double sum = 0.0;
        for (double& part : lane) {
            sum += part;
            part = 0.0;
        }
        runs += sum;
    }
};

// The gradient of a tile's pixels, one value per slot.
template <class G, class C>
void load_pixels(const void* image, const SlotView& slots, std::int64_t first, std::int64_t n, C* value) {
    const G* gradient = static_cast<const G*>(image);
    if (slots.identity_pixels) {
        for (std::int64_t k = 0; k < n; ++k) {
            value[k] = widen<C>(gradient[first + k]);
        }
    } else {
        for (std::int64_t k = 0; k < n; ++k) {
            value[k] = widen<C>(gradient[slots.pixel[first + k]]);
        }
    }
}

// A tile's derivatives to their features.
template <class T>
void store_features(const Compute<T>* value, const SlotView& slots, std::int64_t first, std::int64_t n, void* out) {
    T* features = static_cast<T*>(out);
    if (slots.identity_features) {
        for (std::int64_t k = 0; k < n; ++k) {
            store(features + first + k, value[k]);
        }
    } else {
        for (std::int64_t k = 0; k < n; ++k) {
            store(features + slots.feature[first + k], value[k]);
        }
    }
}

// out = derivative * row_scale - common for the features that are not missing, 0 for the others.
template <class T>
void store_row(const Row& row, const Compute<T>* derivative, Compute<T> row_scale, Compute<T> common, void* out) {
    T* features = static_cast<T*>(out);
    for (std::int64_t j = 0; j < row.n_features; ++j) {
        const Compute<T> x = widen<Compute<T>>(load<T>(row.data, row.stride, j));
        store(features + j, with_common(x, derivative[j], row_scale, common));
    }
}

// The loops that know the types of samples and images; all else is compiled for the type that it computes in alone.
template <class C>
struct Ports {
    std::int64_t size;  // of an element of x
    void (*load)(const Row&, const SlotView&, std::int64_t first, std::int64_t n, C* value);
    void (*pixels)(const void* image, const SlotView&, std::int64_t first, std::int64_t n, C* value);
    void (*features)(const C* value, const SlotView&, std::int64_t first, std::int64_t n, void* out);
    void (*row)(const Row&, const C* derivative, C row_scale, C common, void* out);
    std::int64_t pixel_size;
};

template <class T>
Ports<Compute<T>> ports_of(DType gradient) {
    using C = Compute<T>;
    Ports<C> ports{sizeof(T), load_tile<T>, load_pixels<float, C>, store_features<T>, store_row<T>, sizeof(float)};
    if (gradient == DType::f16 || gradient == DType::bf16) {
        ports.pixels = gradient == DType::f16 ? load_pixels<Half, C> : load_pixels<BFloat, C>;
        ports.pixel_size = sizeof(Half);
    }
    return ports;
}

// How many features the pixel of each slot shows.
template <class C>
void count_sharing(const SlotView& slots, C* sharing) {
    for (std::int64_t k = 0; k < slots.n_slots;) {
        std::int64_t end = k;
        while (end < slots.n_slots && slots.pixel[end] == slots.pixel[k]) {
            ++end;
        }
        for (const C n = static_cast<C>(end - k); k < end; ++k) {
            sharing[k] = n;
        }
    }
}

template <class C>
struct Tile {
    alignas(cache_line) C x[tile_slots];
    alignas(cache_line) C lifted[tile_slots];  // x + offset
    alignas(cache_line) C y[tile_slots];
    alignas(cache_line) C derivative[tile_slots];
};

// What fold makes of the tile's values before it clips them, by fold's own arithmetic.
template <class C>
void unclipped(const Formula<C>& f, std::int64_t first, std::int64_t n, C row_scale, Tile<C>& tile) {
    const C floor = f.floor();
    for (std::int64_t k = 0; k < n; ++k) {
        tile.y[k] = at_least(floor, tile.lifted[k] * row_scale);
    }
    if (f.log) {
        log1p_tile(tile.y, tile.y, n);
    }
    if (f.scale != nullptr) {
        const C* shift = f.shift + first;
        const C* scale = f.scale + first;
        for (std::int64_t k = 0; k < n; ++k) {
            tile.y[k] = (tile.y[k] - shift[k]) * scale[k];
        }
    }
}

// The tile's derivative, which holds gradient / m, becomes D of the contract.
template <class C>
void differentiate(const Formula<C>& f, std::int64_t first, std::int64_t n, C row_scale, Tile<C>& tile) {
    for (std::int64_t k = 0; k < n; ++k) {
        tile.lifted[k] = f.offset != nullptr ? tile.x[k] + f.offset[first + k] : tile.x[k];
    }
    if (f.scale != nullptr) {
        const C* scale = f.scale + first;
        for (std::int64_t k = 0; k < n; ++k) {
            tile.derivative[k] = through_scale(tile.derivative[k], scale[k]);
        }
    }
    if (f.log) {
        for (std::int64_t k = 0; k < n; ++k) {
            tile.derivative[k] = through_log1p(tile.derivative[k], tile.lifted[k] * row_scale);
        }
    }
    const C floor = f.floor();
    const C* scale = f.scale != nullptr ? f.scale + first : nullptr;
    for (std::int64_t k = 0; k < n; ++k) {
        const bool still =
            is_still(tile.x[k], tile.lifted[k] * row_scale, floor) || (scale != nullptr && scale[k] == C{0});
        tile.derivative[k] = still ? C{0} : tile.derivative[k];
    }
    if (f.clips()) {
        unclipped(f, first, n, row_scale, tile);
        for (std::int64_t k = 0; k < n; ++k) {
            tile.derivative[k] = unless_clipped(tile.derivative[k], tile.y[k], f.lo, f.hi);
        }
    }
}

// Everything that a sample needs but its own rows.
template <class C>
struct Job {
    Ports<C> ports;
    const SlotView& slots;
    const Formula<C>* formula;  // null where nothing is normalised
    const C* sharing;           // null where pixels have one feature
};

// The derivatives of slots [at, at + n) of one sample, into the tile.
template <class C>
void fill_tile(const Job<C>& job, const Row& row, const void* image, C row_scale, std::int64_t at, std::int64_t n,
               Tile<C>& tile) {
    job.ports.pixels(image, job.slots, at, n, tile.derivative);
    if (job.sharing != nullptr) {
        for (std::int64_t k = 0; k < n; ++k) {
            tile.derivative[k] /= job.sharing[at + k];
        }
    }
    if (job.formula != nullptr) {
        job.ports.load(row, job.slots, at, n, tile.x);
        differentiate(*job.formula, at, n, row_scale, tile);
    }
}

// Slots [first, end) of a sample without a row scale.
template <class C>
void chunk_gradient(const Job<C>& job, const Row& row, const void* image, std::int64_t first, std::int64_t end,
                    void* out) {
    Tile<C> tile;
    for (std::int64_t at = first; at < end; at += tile_slots) {
        const std::int64_t n = end - at < tile_slots ? end - at : tile_slots;
        fill_tile(job, row, image, C{1}, at, n, tile);
        job.ports.features(tile.derivative, job.slots, at, n, out);
    }
}

// A sample with a row scale. `derivatives` has room for its features, and holds 0 for those without a pixel.
template <class C>
void sample_gradient(const Job<C>& job, const Row& row, const void* image, double row_scale, double library_size,
                     C* derivatives, void* out) {
    Tile<C> tile;
    SumOfSlots<C> sum;
    const C factor = static_cast<C>(row_scale);
    for (std::int64_t at = 0; at < job.slots.n_slots; at += tile_slots) {
        const std::int64_t n = job.slots.n_slots - at < tile_slots ? job.slots.n_slots - at : tile_slots;
        fill_tile(job, row, image, factor, at, n, tile);
        sum.add(n, tile.derivative, tile.lifted);
        for (std::int64_t k = 0; k < n; ++k) {
            derivatives[job.slots.feature[at + k]] = tile.derivative[k];
        }
    }
    job.ports.row(row, derivatives, factor, static_cast<C>(common_of(row_scale, library_size, sum.total())), out);
}

template <class C>
void gradient_of_samples(const Ports<C>& ports, const DenseView& x, const SlotView& slots,
                         const NormalizeParameters& parameters, double library_size, const void* gradient, void* out,
                         int threads) {
    const Formula<C> formula(parameters);
    const Buffer<C> sharing(slots.one_to_one ? 0 : slots.n_slots);
    if (!slots.one_to_one) {
        count_sharing(slots, sharing.data);
    }
    const Job<C> job{ports, slots, parameters.normalise ? &formula : nullptr,
                     slots.one_to_one ? nullptr : sharing.data};
    const std::int64_t row_bytes = x.n_features * ports.size;
    const auto row_of = [&](std::int64_t i) {
        const char* data = static_cast<const char*>(x.data) + i * x.sample_stride;
        return Row{data,
                   i + 1 < x.n_samples ? data + x.sample_stride : nullptr,
                   x.feature_stride == ports.size,
                   x.feature_stride,
                   x.n_features,
                   row_bytes > far_row};
    };
    const auto image_of = [&](std::int64_t i) {
        return static_cast<const char*>(gradient) + i * slots.n_pixels * ports.pixel_size;
    };
    const auto out_of = [&](std::int64_t i) { return static_cast<char*>(out) + i * row_bytes; };
    if (parameters.normalise && parameters.row_scale != nullptr) {
        const Buffer<C> derivatives(threads * x.n_features);
        std::memset(derivatives.data, 0, static_cast<std::size_t>(threads * x.n_features) * sizeof(C));
#pragma omp parallel for num_threads(threads) schedule(static)
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            if (parameters.row_scale[i] == 0.0) {
                std::memset(out_of(i), 0, static_cast<std::size_t>(row_bytes));
                continue;
            }
            sample_gradient(job, row_of(i), image_of(i), parameters.row_scale[i], library_size,
                            derivatives.data + thread_number() * x.n_features, out_of(i));
        }
        return;
    }
    if (slots.n_slots < x.n_features) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            std::memset(out_of(i), 0, static_cast<std::size_t>(row_bytes));
        }
    }
    const std::int64_t n_chunks = (slots.n_slots + chunk_slots - 1) / chunk_slots;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (std::int64_t unit = 0; unit < x.n_samples * n_chunks; ++unit) {
        const std::int64_t i = unit / n_chunks;
        const std::int64_t first = unit % n_chunks * chunk_slots;
        const std::int64_t end = slots.n_slots - first < chunk_slots ? slots.n_slots : first + chunk_slots;
        chunk_gradient(job, row_of(i), image_of(i), first, end, out_of(i));
    }
}

}  // namespace

void fold_gradient(const DenseView& x, const SlotView& slots, const NormalizeParameters& parameters,
                   double library_size, ImageGradient gradient, void* out, int threads) {
    const auto run = [&](auto ports) {
        gradient_of_samples(ports, x, slots, parameters, library_size, gradient.data, out, threads);
    };
    switch (x.dtype) {
        case DType::f64:
            return run(ports_of<double>(gradient.dtype));
        case DType::f16:
            return run(ports_of<Half>(gradient.dtype));
        case DType::bf16:
            return run(ports_of<BFloat>(gradient.dtype));
        default:
            return run(ports_of<float>(gradient.dtype));
    }
}

}  // namespace pixfold::PIXFOLD_ISA
