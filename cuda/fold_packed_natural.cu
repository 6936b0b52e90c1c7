// A thread has eight features: two bytes of codes of each sample, one store of 16 bytes. A feature's four values are
// two registers, in which one permutation of bytes looks up the codes of two samples at once; two more put the values
// of neighbouring features side by side. Where the rows of a group begin stands in shared memory, and nothing stands
// between the loads of their codes.
#include "fold_packed_natural.hpp"
#include "launch.hpp"
#include "words.hpp"

namespace pixfold::cuda {
namespace {

constexpr int natural_threads = 256;
constexpr int natural_blocks = 4;  // per multiprocessor
constexpr int features = 8;        // of a thread
constexpr int group = 8;           // samples of a block
constexpr int rows_at_once = 4;
constexpr int codes = 4;

struct Natural {
    PackedView x;
    const std::int64_t* sample;  // null: image i is of row i
    const std::uint16_t* planes;
    std::uint16_t* out;
    std::int64_t n_pixels;
    std::int64_t n_tiles;
    std::int64_t n_units;
};

// What the codes become at a thread's features: values of the codes 0 and 1, and of 2 and 3.
struct Tables {
    std::uint32_t low[features];
    std::uint32_t high[features];
};

__device__ Tables tables_at(const Natural& a, std::int64_t first) {
    Words<std::uint32_t, 4> plane[codes];
#pragma unroll
    for (int code = 0; code < codes; ++code) {
        plane[code] = *reinterpret_cast<const Words<std::uint32_t, 4>*>(a.planes + code * a.n_pixels + first);
    }
    Tables t;
#pragma unroll
    for (int k = 0; k < features; ++k) {
        const unsigned half = k % 2 == 0 ? 0x5410u : 0x7632u;
        t.low[k] = __byte_perm(plane[0].of[k / 2], plane[1].of[k / 2], half);
        t.high[k] = __byte_perm(plane[2].of[k / 2], plane[3].of[k / 2], half);
    }
    return t;
}

// The images of two samples, of which the second may not be there, at a thread's pixels.
__device__ void store_two(const Tables& t, std::uint32_t one, std::uint32_t two, std::uint16_t* to,
                          std::int64_t n_pixels, bool both) {
    // Bytes: features 0 to 3 of the one and the other sample, features 4 to 7 of both.
    const std::uint32_t bits = __byte_perm(one, two, 0x5140);
    std::uint32_t value[features];
#pragma unroll
    for (int k = 0; k < features; ++k) {
        const std::uint32_t code = bits >> (k / 4 * 16 + k % 4 * 2) & 0x0303u;
        // Each code chooses two of the eight bytes.
        value[k] = __byte_perm(t.low[k], t.high[k], code * 0x22u + 0x1010u);
    }
    Words<std::uint32_t, 4> image;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        image.of[k] = __byte_perm(value[2 * k], value[2 * k + 1], 0x5410);
    }
    store_once(reinterpret_cast<Words<std::uint32_t, 4>*>(to), image);
    if (both) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            image.of[k] = __byte_perm(value[2 * k], value[2 * k + 1], 0x7632);
        }
        store_once(reinterpret_cast<Words<std::uint32_t, 4>*>(to + n_pixels), image);
    }
}

__global__ void __launch_bounds__(natural_threads, natural_blocks) fold_in_order(const Natural a) {
    __shared__ std::int64_t row_start[group];
    const int t = static_cast<int>(threadIdx.x);
    for (std::int64_t unit = blockIdx.x; unit < a.n_units; unit += gridDim.x) {
        const std::int64_t begin = unit / a.n_tiles * group;
        const std::int64_t left = a.x.n_samples - begin;
        const int n = left < group ? static_cast<int>(left) : group;
        __syncthreads();  // those of the unit before are read
        if (t < n) {
            row_start[t] = (a.sample != nullptr ? a.sample[begin + t] : begin + t) * a.x.sample_stride;
        }
        __syncthreads();
        const std::int64_t first = (unit % a.n_tiles * natural_threads + t) * features;
        if (first >= a.n_pixels) {
            continue;
        }
        const Tables tables = tables_at(a, first);
        const std::uint8_t* bits = a.x.bits + first / 4;
        std::uint16_t* out = a.out + begin * a.n_pixels + first;
        int i = 0;
        if (first + features <= a.x.n_features) {
            for (; i + rows_at_once <= n; i += rows_at_once) {
                std::uint32_t both[rows_at_once];
#pragma unroll
                for (int u = 0; u < rows_at_once; ++u) {
                    both[u] =
                        load_once(reinterpret_cast<const Words<std::uint16_t, 1>*>(bits + row_start[i + u])).of[0];
                }
#pragma unroll
                for (int u = 0; u < rows_at_once; u += 2) {
                    store_two(tables, both[u], both[u + 1], out + (i + u) * a.n_pixels, a.n_pixels, true);
                }
            }
        }
        // The last samples, and the end of a row: its bytes one by one, as many as there are.
        const std::int64_t bytes = a.x.row_bytes() - first / 4;
        const auto load = [&](int k) -> std::uint32_t {
            if (k >= n || bytes <= 0) {
                return 0;
            }
            const std::uint8_t* from = bits + row_start[k];
            return from[0] | (bytes > 1 ? static_cast<std::uint32_t>(from[1]) << 8 : 0u);
        };
#pragma unroll 1
        for (; i < n; i += 2) {
            store_two(tables, load(i), load(i + 1), out + i * a.n_pixels, a.n_pixels, i + 1 < n);
        }
    }
}

bool is_multiple(const void* address, std::uintptr_t of) { return reinterpret_cast<std::uintptr_t>(address) % of == 0; }

}  // namespace

bool is_packed_natural(const FoldPackedArguments& a) {
    return a.element == 2 && a.slots.one_to_one && a.slots.feature == nullptr && a.slots.first_slot == nullptr &&
           a.slots.n_pixels % features == 0 && is_multiple(a.out, 16) && is_multiple(a.planes, 16) &&
           is_multiple(a.x.bits, 2) && a.x.sample_stride % 2 == 0;
}

void fold_packed_natural(const FoldPackedArguments& a, void* stream) {
    constexpr std::int64_t tile = natural_threads * features;
    const std::int64_t n_tiles = (a.slots.n_pixels + tile - 1) / tile;
    const std::int64_t n_units = n_tiles * ((a.x.n_samples + group - 1) / group);
    launch(fold_in_order, blocks_for(n_units), natural_threads, 0, stream,
           Natural{a.x, a.sample, static_cast<const std::uint16_t*>(a.planes), static_cast<std::uint16_t*>(a.out),
                   a.slots.n_pixels, n_tiles, n_units});
}

}  // namespace pixfold::cuda
