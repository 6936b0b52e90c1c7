// fold of sparse rows whose images are a few parts of shared memory: a block takes a part of an image, looks through
// all entries of the row and keeps those of its part, so that nobody searches for where the part begins. Background and
// values meet in shared memory, which lies to 16 bytes as the part lies in memory, and go out in aligned stores. The
// entries of the block's next part are asked for before this one is written.
#pragma once

#include "counts.hpp"
#include "grid.hpp"
#include "launch.hpp"
#include "sparse_fold.hpp"
#include "words.hpp"

namespace pixfold::cuda {

constexpr std::int64_t staged_bytes = 40'000;  // five blocks of them fit a large multiprocessor
constexpr std::int64_t most_looks = 4;         // at the entries of a row

template <class O>
std::int64_t staged_parts(std::int64_t n_pixels) {
    constexpr auto most = staged_bytes / static_cast<std::int64_t>(sizeof(O));
    return (n_pixels + most - 1) / most;
}

// Zeros take no reading, so that fewer threads keep the multiprocessor busy.
template <bool zeros>
constexpr int staged_threads = zeros ? 256 : 512;
// Blocks per multiprocessor, as shared memory and registers without spills allow. Processors before sm_90 have less
// shared memory, and their code takes more registers.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int fewer_blocks = 1;
#else
constexpr int fewer_blocks = 0;
#endif
template <class C, bool zeros>
constexpr int staged_blocks =
    sizeof(C) == sizeof(double) ? (zeros ? 3 - fewer_blocks : 1) : (zeros ? 5 : 3) - fewer_blocks;
template <bool zeros>
constexpr int asked = zeros ? 4 : 2;  // entries that a thread asks for at a time

namespace detail {

// A part as it lies in memory: what stands before the first 16-byte boundary, whole accesses, and the rest.
template <class O>
struct Run {
    static constexpr int together = 16 / static_cast<int>(sizeof(O));
    int behind;  // the boundary before it
    int head;
    int middle;
    int n;

    __device__ Run(const O* from, int pixels)
        : behind(static_cast<int>(reinterpret_cast<std::uintptr_t>(from) % 16 / sizeof(O))), n(pixels) {
        const int before = (together - behind) % together;
        head = before < n ? before : n;
        middle = (n - head) / together * together;
    }
};

template <class O>
using Together = Words<O, 16 / static_cast<int>(sizeof(O))>;

// Entries of a row, as a thread asks for them.
template <class Word, int n>
struct Entries {
    std::int32_t feature[n];  // none: there is no entry
    Word value[n];
};
constexpr std::int32_t none = -1;
constexpr std::int32_t out_of_range = -2;

template <class Word, int n, class C, class O>
__device__ void ask(const Scattering<C, O>& a, std::int64_t image, std::int64_t step, Entries<Word, n>& to) {
    const std::int64_t row = row_of(a, image);
    const std::int64_t start = a.row_start[row];
    const std::int64_t end = a.row_start[row + 1];
#pragma unroll
    for (int k = 0; k < n; ++k) {
        const std::int64_t e = start + threadIdx.x + k * step;
        to.feature[k] = none;
        if (e < end) {
            const std::int64_t j = index_at(a, e);
            to.feature[k] = j < 0 || j >= a.n_features ? out_of_range : static_cast<std::int32_t>(j);
            to.value[k] = static_cast<const Word*>(a.values)[e];
        }
    }
}

// Folds a value that has a regular logarithm, or takes none, and is there; false for any other.
template <class O>
__device__ bool regularly(const Scattering<float, O>& a, const LogTable& table, std::int32_t slot, float row_scale,
                          float x, float& y) {
    const Formula<float>& f = a.formula;
    const float lifted = f.offset != nullptr ? x + f.offset[slot] : x;
    const float argument = lifted * row_scale;
    // A negative row scale makes a regular argument of a value that is counted.
    if (x != x || lifted < 0.0f || (f.log && std::bit_cast<std::uint32_t>(argument) >= regular_limit32)) {
        return false;
    }
    y = f.log ? log1p_by_table(argument, SharedTable{table}) : at_least(f.floor(), argument);
    if (f.scale != nullptr) {
        y = scaled(y, f.shift[slot], f.scale[slot]);
    }
    y = at_most(f.hi, at_least(f.lo, y));
    return true;
}
// Doubles have one method, which is not for the loop over values.
template <class O>
__device__ bool regularly(const Scattering<double, O>&, const LogTable&, std::int32_t, double, double, double&) {
    return false;
}

template <class Word, class C, class O, bool zeros>
__global__ void __launch_bounds__(staged_threads<zeros>, (staged_blocks<C, zeros>))
    fold_parts(const Scattering<C, O> a) {
    constexpr int threads = staged_threads<zeros>;
    constexpr int n_asked = asked<zeros>;
    __shared__ LogTable table;
    share(a.table, table);
    O* const memory = dynamic_shared<O>();
    const int t = static_cast<int>(threadIdx.x);
    const std::int64_t n_units = a.n_samples * a.n_tiles;
    MetInRows met;
    Entries<Word, n_asked> entries;
    if (blockIdx.x < n_units) {
        ask(a, blockIdx.x / a.n_tiles, threads, entries);
    }
    for (std::int64_t unit = blockIdx.x; unit < n_units; unit += gridDim.x) {
        const std::int64_t i = unit / a.n_tiles;
        const std::int64_t first = unit % a.n_tiles * a.tile_pixels;
        const std::int64_t left = a.slots.n_pixels - first;
        O* const image = a.out + i * a.slots.n_pixels + first;
        const Run<O> run(image, static_cast<int>(left < a.tile_pixels ? left : a.tile_pixels));
        O* const part = memory + run.behind;
        if constexpr (zeros) {
            for (int p = t * run.together; p < run.behind + run.n; p += threads * run.together) {
                set_words(reinterpret_cast<Together<O>*>(memory + p), Together<O>{});
            }
        } else {
#pragma unroll 4
            for (int p = t; p < run.n; p += threads) {
                part[p] = a.background[first + p];
            }
        }
        __syncthreads();
        const C row_scale = row_scale_of(a, i);
        const auto pixel_of = [&](std::int32_t j) {
            const std::int64_t pixel = a.pixel_of_feature != nullptr ? a.pixel_of_feature[j] : j;
            return pixel >= first && pixel < first + run.n ? static_cast<int>(pixel - first) : -1;
        };
        const auto slot_of = [&](std::int32_t j) {
            return a.normalise && a.slot_of_feature != nullptr ? a.slot_of_feature[j] : j;
        };
        unsigned rare = 0;
#pragma unroll
        for (int k = 0; k < n_asked; ++k) {
            const std::int32_t j = entries.feature[k];
            met.outside += j == out_of_range && first == 0 ? 1u : 0u;
            const int p = j >= 0 ? pixel_of(j) : -1;
            if (p >= 0) {
                const C x = decode_one<C>(a.dtype, entries.value[k]);
                C y = x;
                if (!a.normalise || regularly(a, table, slot_of(j), row_scale, x, y)) {
                    store(&part[p], y);
                } else {
                    rare |= 1u << k;
                }
            }
        }
        // Others, and what is beyond: one by one, with the formula of all.
        const std::int64_t row = row_of(a, i);
        const std::int64_t end = a.row_start[row + 1];
        const std::int64_t mine = a.row_start[row] + t;
#pragma unroll 1
        for (int k = 0; rare != 0; ++k, rare >>= 1) {
            if ((rare & 1u) != 0) {
                const Placed<C> placed =
                    place<Word>(a, table, mine + k * threads, row_scale, first, first + run.n, first == 0, met);
                store(&part[placed.pixel - first], placed.value);
            }
        }
#pragma unroll 1
        for (std::int64_t e = mine + n_asked * threads; e < end; e += threads) {
            const Placed<C> placed = place<Word>(a, table, e, row_scale, first, first + run.n, first == 0, met);
            if (placed.pixel >= 0) {
                store(&part[placed.pixel - first], placed.value);
            }
        }
        if (unit + gridDim.x < n_units) {
            ask(a, (unit + gridDim.x) / a.n_tiles, threads, entries);
        }
        __syncthreads();
        for (int p = t * run.together; p < run.middle; p += threads * run.together) {
            store_once(reinterpret_cast<Together<O>*>(image + run.head + p),
                       get_words(reinterpret_cast<const Together<O>*>(part + run.head + p)));
        }
        if (t < run.head) {
            image[t] = part[t];
        }
        if (t < run.n - run.head - run.middle) {
            image[run.head + run.middle + t] = part[run.head + run.middle + t];
        }
        __syncthreads();
    }
    add_counts({met.missing, met.negative, met.outside}, a.counts);
}

}  // namespace detail

// Sets the parts, of a whole number of accesses each, and queues the kernel.
template <class Word, class C, class O>
void fold_staged(Scattering<C, O> a, void* stream) {
    constexpr std::int64_t together = detail::Run<O>::together;
    const std::int64_t n_pixels = a.slots.n_pixels;
    a.n_tiles = staged_parts<O>(n_pixels);
    a.tile_pixels = ((n_pixels + a.n_tiles - 1) / a.n_tiles + together - 1) / together * together;
    const auto bytes = static_cast<std::size_t>(a.tile_pixels + together) * sizeof(O);
    const auto start = [&](auto kernel, int threads) {
        const auto n = static_cast<unsigned>(threads);
        launch(kernel, resident_blocks(kernel, n, bytes, a.n_samples * a.n_tiles), n, bytes, stream, a);
    };
    if (a.background == nullptr) {
        start(detail::fold_parts<Word, C, O, true>, staged_threads<true>);
    } else {
        start(detail::fold_parts<Word, C, O, false>, staged_threads<false>);
    }
}

}  // namespace pixfold::cuda
