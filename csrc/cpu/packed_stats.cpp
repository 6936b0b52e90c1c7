// What is counted in packed genotypes, and packing itself. Bits are added in fields that grow: of three samples in two
// bits, of fifteen in four, of 255 in a byte; each field holds the count of one bit of one feature.
#include "math/code_stats.hpp"
#include "math/elements.hpp"
#include "pixfold/packed.hpp"
#include "simd/log1p.hpp"

namespace pixfold::PIXFOLD_ISA {
namespace {

constexpr std::int64_t group_samples = 15;
constexpr int groups_per_byte = 17;              // 17 groups of 15 are 255
constexpr std::int64_t chunk_bytes = 2048;       // of each row, in the hands of one thread
constexpr std::int64_t step_bytes = 256;         // of fifteen rows: less than half of L1
constexpr std::int64_t part_samples = 15 * 256;  // samples that are worth a thread of their own

// How often the low bit, the high bit and both bits of the codes are set: [bit][feature mod 4][byte].
template <class T>
struct BitCounts {
    alignas(64) T of[3][4][chunk_bytes];
};

template <class Word>
Word load_word(const std::uint8_t* at) {
    Word word;
    std::memcpy(&word, at, sizeof(Word));
    return word;
}

template <class Word>
void add_bytes(std::uint8_t* to, Word counts) {
    const Word sum = static_cast<Word>(load_word<Word>(to) + counts);
    std::memcpy(to, &sum, sizeof(Word));
}

// Adds the bits of fifteen rows of n words; no byte of `counts` may pass 240 before.
template <class Word>
void add_group(const std::uint8_t* rows, std::int64_t stride, std::int64_t n, BitCounts<std::uint8_t>& counts,
               std::int64_t at) {
    constexpr std::int64_t size = sizeof(Word);
    constexpr Word ones = static_cast<Word>(~std::uint64_t{0} / 3);    // 01 01 01 01
    constexpr Word pairs = static_cast<Word>(~std::uint64_t{0} / 5);   // 0011 0011
    constexpr Word fours = static_cast<Word>(~std::uint64_t{0} / 17);  // 00001111
    std::uint8_t (&sum)[3][4][chunk_bytes] = counts.of;
    for (std::int64_t w = 0; w < n; ++w) {
        const std::uint8_t* row = rows + w * size;
        Word even[3] = {};  // of features 0 and 2 of each byte, in four bits each
        Word odd[3] = {};   // of features 1 and 3
#pragma GCC unroll 5
        for (int triple = 0; triple < 5; ++triple) {
            const Word a = load_word<Word>(row + (3 * triple) * stride);
            const Word b = load_word<Word>(row + (3 * triple + 1) * stride);
            const Word c = load_word<Word>(row + (3 * triple + 2) * stride);
            const Word a1 = static_cast<Word>((a >> 1) & ones);
            const Word b1 = static_cast<Word>((b >> 1) & ones);
            const Word c1 = static_cast<Word>((c >> 1) & ones);
            const Word three[3] = {static_cast<Word>((a & ones) + (b & ones) + (c & ones)),
                                   static_cast<Word>(a1 + b1 + c1), static_cast<Word>((a & a1) + (b & b1) + (c & c1))};
#pragma GCC unroll 3
            for (int bit = 0; bit < 3; ++bit) {
                even[bit] = static_cast<Word>(even[bit] + (three[bit] & pairs));
                odd[bit] = static_cast<Word>(odd[bit] + ((three[bit] >> 2) & pairs));
            }
        }
#pragma GCC unroll 3
        for (int bit = 0; bit < 3; ++bit) {
            add_bytes<Word>(sum[bit][0] + at + w * size, static_cast<Word>(even[bit] & fours));
            add_bytes<Word>(sum[bit][1] + at + w * size, static_cast<Word>(odd[bit] & fours));
            add_bytes<Word>(sum[bit][2] + at + w * size, static_cast<Word>((even[bit] >> 4) & fours));
            add_bytes<Word>(sum[bit][3] + at + w * size, static_cast<Word>((odd[bit] >> 4) & fours));
        }
    }
}

// Counts of samples [i, last) in n bytes of each row from byte `first`.
struct Counter {
    BitCounts<std::uint32_t> total = {};
    BitCounts<std::uint8_t> recent = {};
    std::uint8_t rest[group_samples][chunk_bytes];  // the last samples, filled up with codes that count nothing

    void count(const PackedView& x, std::int64_t i, std::int64_t last, std::int64_t first, std::int64_t n) {
        const std::uint8_t* rows = x.bits + i * x.sample_stride + first;
        int groups = 0;
        for (; i < last; i += group_samples, rows += group_samples * x.sample_stride) {
            const std::int64_t left = last - i;
            if (left >= group_samples) {
                add_rows(rows, x.sample_stride, left >= 2 * group_samples, n);
            } else {
                std::memset(rest, 0, sizeof(rest));
                for (std::int64_t s = 0; s < left; ++s) {
                    std::memcpy(rest[s], rows + s * x.sample_stride, static_cast<std::size_t>(n));
                }
                add_rows(rest[0], chunk_bytes, false, n);
            }
            if (++groups == groups_per_byte) {
                flush(n);
                groups = 0;
            }
        }
        flush(n);
    }

  private:
    void add_rows(const std::uint8_t* rows, std::int64_t stride, bool more, std::int64_t n) {
        for (std::int64_t at = 0; at < n; at += step_bytes) {
            const std::int64_t here = n - at < step_bytes ? n - at : step_bytes;
            if (more) {
                prefetch(rows + group_samples * stride + at, stride, here);
            }
            constexpr std::int64_t word = sizeof(std::uint64_t);
            add_group<std::uint64_t>(rows + at, stride, here / word, recent, at);
            const std::int64_t done = at + here / word * word;
            add_group<std::uint8_t>(rows + done, stride, here % word, recent, done);
        }
    }

    // Fifteen short runs, far from each other, are more than the processor's own prefetching follows.
    static void prefetch(const std::uint8_t* rows, std::int64_t stride, std::int64_t n) {
#if defined(__GNUC__)
        for (std::int64_t s = 0; s < group_samples; ++s) {
            for (std::int64_t b = 0; b < n; b += 64) {
                __builtin_prefetch(rows + s * stride + b, 0, 2);
            }
        }
#else
        (void)rows, (void)stride, (void)n;
#endif
    }

    void flush(std::int64_t n) {
        for (int bit = 0; bit < 3; ++bit) {
            for (int f = 0; f < 4; ++f) {
                std::uint32_t* __restrict to = total.of[bit][f];
                std::uint8_t* __restrict from = recent.of[bit][f];
                for (std::int64_t b = 0; b < n; ++b) {
                    to[b] += from[b];
                    from[b] = 0;
                }
            }
        }
    }
};

// Statistics of n features from `first` on, out.count, out.missing and out.zeros holding the numbers of low bits, high
// bits and both. Values are computed in float, as for dense 8-bit integers.
StatsCounts finish(std::int64_t n_samples, std::int32_t copies, const StatsArguments& a, const StatsOutput& out,
                   std::int64_t first, std::int64_t n) {
    constexpr std::int64_t most = chunk_bytes * 4;
    const float floor = a.clip_below_zero ? 0.0f : -HUGE_VALF;
    const CodeValues x = code_values(copies);
    float value[3][most];
    std::int64_t negative = 0;
    for (int c = 0; c < 3; ++c) {
        for (std::int64_t k = 0; k < n; ++k) {
            const float lifted = x.of[c] + (a.offset != nullptr ? static_cast<float>(a.offset[first + k]) : 0.0f);
            value[c][k] = lifted < floor ? floor : lifted;
        }
        if (a.log) {
            // Without an offset a code has one value.
            const std::int64_t different = a.offset != nullptr ? n : 1;
            log1p_tile(value[c], value[c], different);
            for (std::int64_t k = different; k < n; ++k) {
                value[c][k] = value[c][0];
            }
        }
    }
    for (std::int64_t k = 0; k < n; ++k) {
        const std::int64_t j = first + k;
        const CodeNumbers numbers = code_numbers(n_samples, out.count[j], out.missing[j], out.zeros[j]);
        const float lift = a.offset != nullptr ? static_cast<float>(a.offset[j]) : 0.0f;
        for (int c = 0; c < 3; ++c) {
            negative += x.of[c] + lift < 0.0f ? numbers.of[c] : 0;
        }
        write_stats(code_stats(numbers, {value[0][k], value[1][k], value[2][k]}, copies), n_samples, j, out);
    }
    return {negative, 0};
}

void store_counts(const BitCounts<std::uint32_t>& counts, const StatsOutput& out, std::int64_t first_feature,
                  std::int64_t n, bool shared) {
    std::int64_t* const to[3] = {out.count, out.missing, out.zeros};
    for (int bit = 0; bit < 3; ++bit) {
        std::int64_t* at = to[bit] + first_feature;
        for (std::int64_t k = 0; k < n; ++k) {
            const std::int64_t number = counts.of[bit][k % 4][k / 4];
            if (shared) {
#pragma omp atomic
                at[k] += number;
            } else {
                at[k] = number;
            }
        }
    }
}

}  // namespace

StatsCounts column_stats_packed(const PackedView& x, std::int32_t copies, const StatsArguments& a,
                                const StatsOutput& out, int threads) {
    const std::int64_t row_bytes = x.row_bytes();
    // As many chunks as fill the threads evenly; where that leaves threads without work, the samples are divided too.
    const std::int64_t least = (row_bytes + chunk_bytes - 1) / chunk_bytes;
    const std::int64_t wanted = (least + threads - 1) / threads * threads;
    const std::int64_t even = ((row_bytes + wanted - 1) / wanted + step_bytes - 1) / step_bytes * step_bytes;
    const std::int64_t size = even < chunk_bytes ? even : chunk_bytes;
    const std::int64_t n_chunks = (row_bytes + size - 1) / size;
    const std::int64_t useful = x.n_samples / part_samples;
    const std::int64_t idle = threads / (n_chunks > 0 ? n_chunks : 1);
    const std::int64_t n_parts = idle > 1 && useful > 1 ? (idle < useful ? idle : useful) : 1;
    const auto features_of = [&](std::int64_t chunk) {
        const std::int64_t end = (chunk + 1) * size * 4 < x.n_features ? (chunk + 1) * size * 4 : x.n_features;
        return end - chunk * size * 4;
    };
    std::int64_t negative = 0;
#pragma omp parallel num_threads(threads) reduction(+ : negative)
    {
        if (n_parts > 1) {
#pragma omp for schedule(static)
            for (std::int64_t j = 0; j < x.n_features; ++j) {
                out.count[j] = out.missing[j] = out.zeros[j] = 0;
            }
        }
#pragma omp for schedule(static)
        for (std::int64_t unit = 0; unit < n_chunks * n_parts; ++unit) {
            const std::int64_t chunk = unit / n_parts;
            const std::int64_t part = unit % n_parts;
            const std::int64_t first = chunk * size;
            const std::int64_t n = row_bytes - first < size ? row_bytes - first : size;
            Counter counter;
            counter.count(x, x.n_samples * part / n_parts, x.n_samples * (part + 1) / n_parts, first, n);
            store_counts(counter.total, out, first * 4, features_of(chunk), n_parts > 1);
        }
#pragma omp for schedule(static)
        for (std::int64_t chunk = 0; chunk < n_chunks; ++chunk) {
            negative += finish(x.n_samples, copies, a, out, chunk * size * 4, features_of(chunk)).negative;
        }
    }
    return {negative, 0};
}

bool any_missing_packed(const PackedView& x, int threads) {
    const std::int64_t whole = x.n_features / 4;
    const auto last_ones = static_cast<unsigned>((1u << (2 * (x.n_features % 4))) - 1u) & 0x55u;
    unsigned any = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(| : any)
    for (std::int64_t i = 0; i < x.n_samples; ++i) {
        const std::uint8_t* row = x.bits + i * x.sample_stride;
        std::uint8_t found = 0;
        for (std::int64_t b = 0; b < whole; ++b) {
            found = static_cast<std::uint8_t>(found | (row[b] & ~(row[b] >> 1) & 0x55));
        }
        any |= found;
        if (last_ones != 0) {
            const unsigned byte = row[whole];
            any |= byte & ~(byte >> 1) & last_ones;
        }
    }
    return any != 0;
}

namespace {

constexpr std::uint8_t no_code = 4;

template <class T>
std::uint8_t code_of(T x, const std::uint8_t (&codes)[3], T missing, bool has_missing) {
    std::uint8_t code = x == T{0} ? codes[0] : no_code;
    code = x == T{1} ? codes[1] : code;
    code = x == T{2} ? codes[2] : code;
    return (has_missing && x == missing) || x != x ? std::uint8_t{1} : code;
}

// As the type in which values are compared: 16-bit floats as float.
template <class T>
struct Compared {
    using type = T;
};
template <>
struct Compared<Half> {
    using type = float;
};
template <>
struct Compared<BFloat> {
    using type = float;
};

template <class T>
std::int64_t pack_typed(const DenseView& x, const PackArguments& a, std::uint8_t* bits, int threads) {
    using V = typename Compared<T>::type;
    constexpr bool whole = std::is_integral_v<V>;
    const bool has_missing = whole && (std::is_signed_v<V> || a.missing >= 0) &&
                             static_cast<std::int64_t>(static_cast<V>(a.missing)) == a.missing;
    const V missing = has_missing ? static_cast<V>(a.missing) : V{0};
    const std::uint8_t codes[3] = {static_cast<std::uint8_t>(a.copies == 2 ? 3 : 0), 2,
                                   static_cast<std::uint8_t>(a.copies == 2 ? 0 : 3)};
    constexpr std::int64_t tile = 1024;
    const std::int64_t row_bytes = (x.n_features + 3) / 4;
    std::int64_t bad = INT64_MAX;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(min : bad)
    for (std::int64_t i = 0; i < x.n_samples; ++i) {
        const char* row = static_cast<const char*>(x.data) + i * x.sample_stride;
        for (std::int64_t at = 0; at < x.n_features; at += tile) {
            const std::int64_t n = x.n_features - at < tile ? x.n_features - at : tile;
            std::uint8_t code[tile + 3] = {};
            std::uint8_t every = 0;
            if (x.feature_stride == static_cast<std::int64_t>(sizeof(T))) {
                const char* from = row + at * static_cast<std::int64_t>(sizeof(T));
                for (std::int64_t k = 0; k < n; ++k) {
                    code[k] = code_of(widen<V>(load<T>(from, sizeof(T), k)), codes, missing, has_missing);
                    every = static_cast<std::uint8_t>(every | code[k]);
                }
            } else {
                for (std::int64_t k = 0; k < n; ++k) {
                    code[k] = code_of(widen<V>(load<T>(row, x.feature_stride, at + k)), codes, missing, has_missing);
                    every = static_cast<std::uint8_t>(every | code[k]);
                }
            }
            if ((every & no_code) != 0) {
                std::int64_t k = 0;
                while (code[k] != no_code) {
                    ++k;
                }
                bad = i * x.n_features + at + k < bad ? i * x.n_features + at + k : bad;
                break;
            }
            std::uint8_t* out = bits + i * row_bytes + at / 4;
            for (std::int64_t b = 0; b < (n + 3) / 4; ++b) {
                out[b] = static_cast<std::uint8_t>(code[4 * b] | code[4 * b + 1] << 2 | code[4 * b + 2] << 4 |
                                                   code[4 * b + 3] << 6);
            }
        }
    }
    return bad == INT64_MAX ? -1 : bad;
}

}  // namespace

std::int64_t pack(const DenseView& x, const PackArguments& arguments, std::uint8_t* bits, int threads) {
    std::int64_t bad = -1;
    with_type(x.dtype, [&](auto* typed) {
        using T = std::remove_cvref_t<decltype(*typed)>;
        bad = pack_typed<T>(x, arguments, bits, threads);
    });
    return bad;
}

}  // namespace pixfold::PIXFOLD_ISA
