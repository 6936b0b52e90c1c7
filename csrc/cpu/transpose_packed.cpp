// A tile of 256 x 256 codes fits in L1 both ways, and is read and written in whole cache lines. Within it, matrices of
// 32 x 32 codes are 32 words each, and eight of them lie side by side, so that a vector holds one row of several.
#include "pixfold/transpose_packed.hpp"

#include <bit>
#include <cstring>

namespace pixfold::PIXFOLD_ISA {
namespace {

static_assert(std::endian::native == std::endian::little, "code 0 of a row is in the lowest bits of a word");

constexpr std::int64_t word_codes = 32;
constexpr std::int64_t line_words = 8;
constexpr std::int64_t line_bytes = line_words * 8;
constexpr std::int64_t tile_codes = word_codes * line_words;

using Words = std::uint64_t[word_codes][line_words];

// Swaps blocks of `half` x `half` codes across the diagonal, in every matrix.
template <int half>
void swap_blocks(Words& w) {
    constexpr std::uint64_t low =
        ~std::uint64_t{0} / ((std::uint64_t{1} << (2 * half)) + 1);  // `half` codes of 2 * half
    for (int k = 0; k < word_codes; k += 2 * half) {
        for (int i = k; i < k + half; ++i) {
            std::uint64_t* __restrict upper = w[i];
            std::uint64_t* __restrict lower = w[i + half];
#pragma omp simd
            for (std::int64_t b = 0; b < line_words; ++b) {
                const std::uint64_t t = (upper[b] >> (2 * half) ^ lower[b]) & low;
                lower[b] ^= t;
                upper[b] ^= t << (2 * half);
            }
        }
    }
}

// Up to 256 rows of up to 64 bytes in, up to 256 rows of up to 64 bytes out.
void transpose_tile(const std::uint8_t* in, std::int64_t in_stride, std::int64_t rows, std::uint8_t* out,
                    std::int64_t out_stride, std::int64_t columns) {
    alignas(64) Words w;
    alignas(64) std::uint64_t turned[tile_codes][line_words];
    const auto n_in = static_cast<std::size_t>((columns + 3) / 4);
    const auto n_out = static_cast<std::size_t>((rows + 3) / 4);
    for (std::int64_t group = 0; group * word_codes < rows; ++group) {
        const std::uint8_t* from = in + group * word_codes * in_stride;
        const std::int64_t left = rows - group * word_codes;
        if (left >= word_codes && n_in == line_bytes) {
            for (std::int64_t i = 0; i < word_codes; ++i) {
                std::memcpy(w[i], from + i * in_stride, line_bytes);
            }
        } else {
            std::memset(w, 0, sizeof(w));
            for (std::int64_t i = 0; i < word_codes && i < left; ++i) {
                std::memcpy(w[i], from + i * in_stride, n_in);
            }
        }
        swap_blocks<16>(w);
        swap_blocks<8>(w);
        swap_blocks<4>(w);
        swap_blocks<2>(w);
        swap_blocks<1>(w);
        for (std::int64_t b = 0; b < line_words; ++b) {
            for (std::int64_t k = 0; k < word_codes; ++k) {
                turned[b * word_codes + k][group] = w[k][b];
            }
        }
    }
    if (n_out == line_bytes) {
        for (std::int64_t j = 0; j < columns; ++j) {
            std::memcpy(out + j * out_stride, turned[j], line_bytes);
        }
    } else {
        for (std::int64_t j = 0; j < columns; ++j) {
            std::memcpy(out + j * out_stride, turned[j], n_out);
        }
    }
}

}  // namespace

void transpose_packed(const PackedView& x, const PackedRows& out, int threads) {
    const std::int64_t down = (x.n_samples + tile_codes - 1) / tile_codes;
    const std::int64_t across = (x.n_features + tile_codes - 1) / tile_codes;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (std::int64_t tile = 0; tile < down * across; ++tile) {
        const std::int64_t row = tile % down * tile_codes;
        const std::int64_t column = tile / down * tile_codes;
        const std::int64_t rows = x.n_samples - row < tile_codes ? x.n_samples - row : tile_codes;
        const std::int64_t columns = x.n_features - column < tile_codes ? x.n_features - column : tile_codes;
        transpose_tile(x.bits + row * x.sample_stride + column / 4, x.sample_stride, rows,
                       out.bits + column * out.stride + row / 4, out.stride, columns);
    }
}

}  // namespace pixfold::PIXFOLD_ISA
