// fold of packed genotypes. Sixteen samples go together: their codes of one feature side by side are two 16-bit words,
// made by transposing 4 x 4 blocks of codes, so that the loop over pixels has one element per pixel in every array that
// it touches (words, the four planes of the table, output) and becomes plain vector code.
#include "images.hpp"
#include "pixfold/packed.hpp"
#include "scratch.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

constexpr int block_samples = 16;
constexpr std::int64_t tile_pixels = 1024;               // the planes of a tile (at most 16 kB) stay in L1
constexpr std::int64_t chunk_pixels = tile_pixels * 16;  // what one thread takes of a block of samples
constexpr std::int64_t spare = 64;                       // pixels past a tile, to end it on a line of the output
constexpr std::int64_t transposed_bytes = 512;           // of each sample, in one step of `interleave`

struct Rows {
    const std::uint8_t* row[block_samples];  // the last sample again where there are fewer
    std::int64_t first;
    int n;
};

Rows rows_of(const PackedView& x, std::int64_t first) {
    Rows rows{};
    rows.first = first;
    rows.n = static_cast<int>(x.n_samples - first < block_samples ? x.n_samples - first : block_samples);
    for (int s = 0; s < block_samples; ++s) {
        rows.row[s] = x.bits + (first + (s < rows.n ? s : rows.n - 1)) * x.sample_stride;
    }
    return rows;
}

// From the bytes of four samples (four features each) to a byte per feature (four samples each): halves change places,
// then quarters.
struct FourBytes {
    std::uint8_t of[4];
};

inline FourBytes transpose(std::uint8_t r0, std::uint8_t r1, std::uint8_t r2, std::uint8_t r3) {
    const auto byte = [](int value) { return static_cast<std::uint8_t>(value); };
    const std::uint8_t a0 = byte((r0 & 0x0f) | (r2 << 4));
    const std::uint8_t a1 = byte((r1 & 0x0f) | (r3 << 4));
    const std::uint8_t b0 = byte((r0 >> 4) | (r2 & 0xf0));
    const std::uint8_t b1 = byte((r1 >> 4) | (r3 & 0xf0));
    return {{byte((a0 & 0x33) | ((a1 & 0x33) << 2)), byte(((a0 >> 2) & 0x33) | (a1 & 0xcc)),
             byte((b0 & 0x33) | ((b1 & 0x33) << 2)), byte(((b0 >> 2) & 0x33) | (b1 & 0xcc))}};
}

// Words of eight samples, in feature order: n bytes of each row from byte `at`.
void words_of_eight(const std::uint8_t* const* row, std::int64_t at, std::int64_t n, std::uint16_t* __restrict words) {
    const std::uint8_t* __restrict r0 = row[0] + at;
    const std::uint8_t* __restrict r1 = row[1] + at;
    const std::uint8_t* __restrict r2 = row[2] + at;
    const std::uint8_t* __restrict r3 = row[3] + at;
    const std::uint8_t* __restrict r4 = row[4] + at;
    const std::uint8_t* __restrict r5 = row[5] + at;
    const std::uint8_t* __restrict r6 = row[6] + at;
    const std::uint8_t* __restrict r7 = row[7] + at;
    for (std::int64_t b = 0; b < n; ++b) {
        const FourBytes low = transpose(r0[b], r1[b], r2[b], r3[b]);
        const FourBytes high = transpose(r4[b], r5[b], r6[b], r7[b]);
        words[4 * b] = static_cast<std::uint16_t>(low.of[0] | high.of[0] << 8);
        words[4 * b + 1] = static_cast<std::uint16_t>(low.of[1] | high.of[1] << 8);
        words[4 * b + 2] = static_cast<std::uint16_t>(low.of[2] | high.of[2] << 8);
        words[4 * b + 3] = static_cast<std::uint16_t>(low.of[3] | high.of[3] << 8);
    }
}

// All sixteen samples' codes of the features of bytes [first, end) of the rows, one word per feature, by position.
void interleave(const Rows& rows, std::int64_t first, std::int64_t end, std::int64_t row_bytes, std::uint32_t* words) {
    std::uint8_t quad[4][4][transposed_bytes];  // of four samples: [samples][feature mod 4]
    for (std::int64_t at = first; at < end; at += transposed_bytes) {
        const std::int64_t n = end - at < transposed_bytes ? end - at : transposed_bytes;
        for (int q = 0; q < 4; ++q) {
            const std::uint8_t* __restrict r0 = rows.row[4 * q] + at;
            const std::uint8_t* __restrict r1 = rows.row[4 * q + 1] + at;
            const std::uint8_t* __restrict r2 = rows.row[4 * q + 2] + at;
            const std::uint8_t* __restrict r3 = rows.row[4 * q + 3] + at;
            for (std::int64_t b = 0; b < n; ++b) {
                const FourBytes bytes = transpose(r0[b], r1[b], r2[b], r3[b]);
                quad[q][0][b] = bytes.of[0];
                quad[q][1][b] = bytes.of[1];
                quad[q][2][b] = bytes.of[2];
                quad[q][3][b] = bytes.of[3];
            }
        }
        for (int f = 0; f < 4; ++f) {
            std::uint32_t* __restrict out = words + f * row_bytes + at;
            for (std::int64_t b = 0; b < n; ++b) {
                out[b] = static_cast<std::uint32_t>(quad[0][f][b]) | static_cast<std::uint32_t>(quad[1][f][b]) << 8 |
                         static_cast<std::uint32_t>(quad[2][f][b]) << 16 |
                         static_cast<std::uint32_t>(quad[3][f][b]) << 24;
            }
        }
    }
}

// The elements that the codes of sample s (of eight) choose, of n pixels. Everything is as wide as an element, so that
// no lane has to change its width; a byte is the half of the word that has the sample.
template <int dropped, class T>
void choose(const std::uint16_t* __restrict words, int s, const T* __restrict plane, std::int64_t plane_stride,
            std::int64_t n, T* __restrict value) {
    const T* __restrict p0 = plane;
    const T* __restrict p1 = plane + plane_stride;
    const T* __restrict p2 = plane + 2 * plane_stride;
    const T* __restrict p3 = plane + 3 * plane_stride;
    const T low_bit = static_cast<T>(1u << (2 * s - dropped));
    const T high_bit = static_cast<T>(2u << (2 * s - dropped));
    for (std::int64_t k = 0; k < n; ++k) {
        const T code = static_cast<T>(words[k] >> dropped);
        // All four are loaded: a load that depends on the code could not become vector code.
        const T v0 = p0[k];
        const T v1 = p1[k];
        const T v2 = p2[k];
        const T v3 = p3[k];
        const T low = (code & low_bit) != 0 ? v1 : v0;
        const T high = (code & low_bit) != 0 ? v3 : v2;
        value[k] = (code & high_bit) != 0 ? high : low;
    }
}

// A tile in work: words of its pixels, values of one sample.
template <class T>
struct Tile {
    alignas(64) std::uint16_t words[2][tile_pixels + spare] = {};
    alignas(64) T value[tile_pixels + spare];
};

template <class T>
struct Fold {
    const PackedView& x;
    const PackedTable& table;
    T* out;
    bool streamed;

    Fold(const PackedView& view, const PackedTable& t, void* images) : x(view), table(t), out(static_cast<T*>(images)) {
        const std::int64_t bytes = x.n_samples * t.n_pixels * static_cast<std::int64_t>(sizeof(T));
        streamed = streams(bytes) && reinterpret_cast<std::uintptr_t>(images) % sizeof(T) == 0;
    }

    // Pixels [at, end) of all samples of the block, their words being in `tile`. Streamed rows begin and end on lines
    // of their own, and so up to a line later, but for the ends of the chunk.
    void write(const Rows& rows, std::int64_t at, std::int64_t end, std::int64_t chunk_first, std::int64_t chunk_end,
               Tile<T>& tile) const {
        const T* planes = static_cast<const T*>(table.planes) + at;
        for (int s = 0; s < rows.n; ++s) {
            T* image = out + (rows.first + s) * table.n_pixels;
            std::int64_t first = at;
            std::int64_t last = end;
            if (streamed) {
                first = at == chunk_first ? at : line_after(image, at, chunk_end);
                last = line_after(image, end, chunk_end);
            }
            const std::int64_t n = (last - at + spare - 1) / spare * spare;
            if (sizeof(T) == 1 && s % 8 >= 4) {
                choose<8>(tile.words[s / 8], s % 8, planes, table.plane_stride, n, tile.value);
            } else {
                choose<0>(tile.words[s / 8], s % 8, planes, table.plane_stride, n, tile.value);
            }
            if (streamed) {
                stream_image(tile.value + (first - at), last - first, image + first);
            } else {
                std::memcpy(static_cast<void*>(image + first), tile.value,
                            static_cast<std::size_t>(last - first) * sizeof(T));
            }
        }
    }

    static std::int64_t line_after(const T* image, std::int64_t at, std::int64_t end) {
        const std::int64_t next = at + elements_to_line(image + at);
        return next < end ? next : end;
    }

    // Pixel p shows feature p.
    void natural(const Rows& rows, std::int64_t chunk_first, std::int64_t chunk_end, Tile<T>& tile) const {
        for (std::int64_t at = chunk_first; at < chunk_end; at += tile_pixels) {
            const std::int64_t end = chunk_end - at < tile_pixels ? chunk_end : at + tile_pixels;
            const std::int64_t wanted = chunk_end - end < spare ? chunk_end : end + spare;
            const std::int64_t there = wanted < x.n_features ? wanted : x.n_features;
            const std::int64_t n = (there + 3) / 4 - at / 4;
            if (n > 0) {
                words_of_eight(rows.row, at / 4, n, tile.words[0]);
                if (rows.n > 8) {
                    words_of_eight(rows.row + 8, at / 4, n, tile.words[1]);
                }
            }
            write(rows, at, end, chunk_first, chunk_end, tile);
        }
    }

    // Pixels show features of any order; `words` is what `interleave` has made of the block.
    void gathered(const Rows& rows, const std::uint32_t* words, std::int64_t chunk_first, std::int64_t chunk_end,
                  Tile<T>& tile) const {
        for (std::int64_t at = chunk_first; at < chunk_end; at += tile_pixels) {
            const std::int64_t end = chunk_end - at < tile_pixels ? chunk_end : at + tile_pixels;
            const std::int64_t wanted = chunk_end - end < spare ? chunk_end : end + spare;
            const std::int32_t* position = table.position + at;
            for (std::int64_t k = 0; k < wanted - at; ++k) {
                const std::uint32_t word = words[position[k]];
                tile.words[0][k] = static_cast<std::uint16_t>(word);
                tile.words[1][k] = static_cast<std::uint16_t>(word >> 16);
            }
            write(rows, at, end, chunk_first, chunk_end, tile);
        }
    }
};

// Parts of equal size, of whole tiles.
struct Chunks {
    explicit Chunks(std::int64_t n_pixels) : total(n_pixels) {
        const std::int64_t least = (n_pixels + chunk_pixels - 1) / chunk_pixels;
        size = ((n_pixels + least - 1) / least + tile_pixels - 1) / tile_pixels * tile_pixels;
        n = (n_pixels + size - 1) / size;
    }
    std::int64_t first(std::int64_t c) const { return c * size; }
    std::int64_t end(std::int64_t c) const { return (c + 1) * size < total ? (c + 1) * size : total; }

    std::int64_t total;
    std::int64_t size;
    std::int64_t n;
};

template <class T>
void fold_natural(const Fold<T>& fold, int threads) {
    const std::int64_t n_blocks = (fold.x.n_samples + block_samples - 1) / block_samples;
    const Chunks chunks(fold.table.n_pixels);
#pragma omp parallel num_threads(threads)
    {
        Tile<T> tile;
// All samples of one chunk of pixels before the next one: the chunk's planes stay in L2.
#pragma omp for schedule(dynamic, 1) nowait
        for (std::int64_t unit = 0; unit < n_blocks * chunks.n; ++unit) {
            const std::int64_t c = unit / n_blocks;
            fold.natural(rows_of(fold.x, unit % n_blocks * block_samples), chunks.first(c), chunks.end(c), tile);
        }
        fence_streams();
    }
}

// Each thread takes whole blocks of samples, with interleaved words of its own, where there are enough of them; else
// all threads work on one block after the other.
template <class T>
void fold_gathered(const Fold<T>& fold, int threads) {
    const std::int64_t n_blocks = (fold.x.n_samples + block_samples - 1) / block_samples;
    const std::int64_t row_bytes = fold.x.row_bytes();
    const bool apart = threads == 1 || n_blocks >= 4 * threads;
    const Chunks chunks(fold.table.n_pixels);
    // Taken here: an exception must not leave a parallel region.
    const Buffer<std::uint32_t> scratch((apart ? threads : 1) * row_bytes * 4);
#pragma omp parallel num_threads(threads)
    {
        Tile<T> tile;
        if (apart) {
            std::uint32_t* words = scratch.data + thread_number() * row_bytes * 4;
#pragma omp for schedule(dynamic, 1) nowait
            for (std::int64_t b = 0; b < n_blocks; ++b) {
                const Rows rows = rows_of(fold.x, b * block_samples);
                interleave(rows, 0, row_bytes, row_bytes, words);
                fold.gathered(rows, words, 0, fold.table.n_pixels, tile);
            }
        } else {
            for (std::int64_t b = 0; b < n_blocks; ++b) {
                const Rows rows = rows_of(fold.x, b * block_samples);
#pragma omp for schedule(static)
                for (std::int64_t at = 0; at < row_bytes; at += transposed_bytes) {
                    const std::int64_t end = at + transposed_bytes < row_bytes ? at + transposed_bytes : row_bytes;
                    interleave(rows, at, end, row_bytes, scratch.data);
                }
#pragma omp for schedule(static)
                for (std::int64_t c = 0; c < chunks.n; ++c) {
                    fold.gathered(rows, scratch.data, chunks.first(c), chunks.end(c), tile);
                }
            }
        }
        fence_streams();
    }
}

template <class T>
void fold_typed(const PackedView& x, const PackedTable& table, void* out, int threads) {
    const Fold<T> fold(x, table, out);
    if (table.position == nullptr) {
        fold_natural(fold, threads);
    } else {
        fold_gathered(fold, threads);
    }
}

}  // namespace

// Elements are moved, never computed with: their bits are all that matters.
void fold_packed(const PackedView& x, const PackedTable& table, void* out, int threads) {
    switch (table.dtype) {
        case DType::i8:
            return fold_typed<std::uint8_t>(x, table, out, threads);
        case DType::f16:
        case DType::bf16:
            return fold_typed<std::uint16_t>(x, table, out, threads);
        default:
            return fold_typed<std::uint32_t>(x, table, out, threads);
    }
}

}  // namespace pixfold::PIXFOLD_ISA
