// What is counted in packed genotypes. A thread takes 16 features, a word of each row, down a span of samples. Bits are
// added in fields that grow: of three samples in two bits, of fifteen in four, of 255 in a byte, of a span in two
// bytes; each field holds the count of one bit of one feature. The counts of spans are added up in integers.
#include "counts.hpp"
#include "launch.hpp"
#include "math/code_stats.hpp"
#include "normalise.hpp"
#include "pixfold/packed.hpp"
#include "tiles.hpp"

namespace pixfold::cuda {
namespace {

using Word = std::uint32_t;
constexpr int word_bytes = sizeof(Word);
constexpr int group_samples = 15;
constexpr int round_groups = 17;  // 17 groups of 15 are 255
constexpr std::int64_t round_samples = group_samples * round_groups;
constexpr std::int64_t most_rounds = 256;  // 65,280 samples

struct Counting {
    PackedView x;
    std::int64_t n_words;  // of a row
    std::int64_t n_spans;
    std::int64_t span;  // samples
    StatsOutput out;    // count, missing and zeros are the numbers of low bits, high bits and both
};

// A word that may end before its fourth byte, read `step` bytes at a time.
template <class Step>
__device__ Word load_word(const std::uint8_t* at, std::int64_t bytes) {
    constexpr int step = sizeof(Step);
    if (bytes >= word_bytes) {
        Word word = 0;
#pragma unroll
        for (int k = 0; k < word_bytes; k += step) {
            word |= static_cast<Word>(*reinterpret_cast<const Step*>(at + k)) << (8 * k % 32);
        }
        return word;
    }
    Word word = 0;
    for (int k = 0; k < bytes; ++k) {
        word |= static_cast<Word>(at[k]) << (8 * k);
    }
    return word;
}

// Counts of [low bit, high bit, both] in bytes of a word: byte b of [bit][f] is of feature 4 b + f.
struct ByteCounts {
    Word of[3][4];
};

// Adds the bits of the next `left` samples, fifteen at the most.
template <class Step>
__device__ void add_group(const std::uint8_t* at, std::int64_t stride, std::int64_t bytes, std::int64_t left,
                          ByteCounts& counts) {
    constexpr Word ones = 0x55555555u;
    constexpr Word pairs = 0x33333333u;
    constexpr Word fours = 0x0f0f0f0fu;
    Word row[group_samples];
#pragma unroll
    for (int i = 0; i < group_samples; ++i) {
        row[i] = i < left ? load_word<Step>(at + i * stride, bytes) : 0;  // a code of 0 counts nothing
    }
    Word even[3] = {};  // of features 0 and 2 of each byte, in four bits each
    Word odd[3] = {};   // of features 1 and 3
#pragma unroll
    for (int i = 0; i < group_samples; i += 3) {
        const Word a = row[i], b = row[i + 1], c = row[i + 2];
        const Word a1 = (a >> 1) & ones, b1 = (b >> 1) & ones, c1 = (c >> 1) & ones;
        const Word three[3] = {(a & ones) + (b & ones) + (c & ones), a1 + b1 + c1, (a & a1) + (b & b1) + (c & c1)};
#pragma unroll
        for (int bit = 0; bit < 3; ++bit) {
            even[bit] += three[bit] & pairs;
            odd[bit] += (three[bit] >> 2) & pairs;
        }
    }
#pragma unroll
    for (int bit = 0; bit < 3; ++bit) {
        counts.of[bit][0] += even[bit] & fours;
        counts.of[bit][1] += odd[bit] & fours;
        counts.of[bit][2] += (even[bit] >> 4) & fours;
        counts.of[bit][3] += (odd[bit] >> 4) & fours;
    }
}

template <class Step>
__global__ void __launch_bounds__(block_threads, 2) count_bits(const Counting a) {
    constexpr Word low_bytes = 0x00ff00ffu;
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * block_threads;
    for (std::int64_t unit = blockIdx.x * std::int64_t{block_threads} + threadIdx.x; unit < a.n_words * a.n_spans;
         unit += stride) {
        const std::int64_t first_byte = unit % a.n_words * word_bytes;
        const std::int64_t first = unit / a.n_words * a.span;
        const std::int64_t end = first + a.span < a.x.n_samples ? first + a.span : a.x.n_samples;
        const std::int64_t bytes = a.x.row_bytes() - first_byte;
        Word total[3][4][2] = {};  // two bytes each: of the bytes 0 and 2, and of 1 and 3
        for (std::int64_t round = first; round < end; round += round_samples) {
            const std::int64_t last = round + round_samples < end ? round + round_samples : end;
            ByteCounts counts = {};
            for (std::int64_t i = round; i < last; i += group_samples) {
                add_group<Step>(a.x.bits + i * a.x.sample_stride + first_byte, a.x.sample_stride, bytes, last - i,
                                counts);
            }
#pragma unroll
            for (int bit = 0; bit < 3; ++bit) {
#pragma unroll
                for (int f = 0; f < 4; ++f) {
                    total[bit][f][0] += counts.of[bit][f] & low_bytes;
                    total[bit][f][1] += (counts.of[bit][f] >> 8) & low_bytes;
                }
            }
        }
        std::int64_t* const to[3] = {a.out.count, a.out.missing, a.out.zeros};
#pragma unroll
        for (int bit = 0; bit < 3; ++bit) {
#pragma unroll
            for (int k = 0; k < 4 * word_bytes; ++k) {
                const std::int64_t feature = first_byte * 4 + k;
                const int byte = k / 4;
                const Word number = (total[bit][k % 4][byte % 2] >> (16 * (byte / 2))) & 0xffffu;
                if (feature >= a.x.n_features) {
                    continue;
                }
                if (a.n_spans == 1) {
                    to[bit][feature] = number;
                } else {
                    atomicAdd(reinterpret_cast<unsigned long long*>(&to[bit][feature]),
                              static_cast<unsigned long long>(number));
                }
            }
        }
    }
}

__global__ void __launch_bounds__(block_threads) clear_counts(const StatsOutput out, const std::int64_t n_features) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * block_threads;
    for (std::int64_t j = blockIdx.x * std::int64_t{block_threads} + threadIdx.x; j < n_features; j += stride) {
        out.count[j] = out.missing[j] = out.zeros[j] = 0;
    }
}

struct Finishing {
    std::int64_t n_samples;
    std::int64_t n_features;
    std::int32_t copies;
    StatsArguments how;
    StatsOutput out;
    LogTable table;
    unsigned long long* counts;
};

// From counts to statistics, a thread per feature. Values are computed in float, as for dense 8-bit integers.
__global__ void __launch_bounds__(block_threads) finish_stats(const Finishing a) {
    __shared__ LogTable table;
    share(a.table, table);
    const float floor = a.how.clip_below_zero ? 0.0f : -HUGE_VALF;
    const CodeValues x = code_values(a.copies);
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * block_threads;
    unsigned long long negative = 0;
    for (std::int64_t j = blockIdx.x * std::int64_t{block_threads} + threadIdx.x; j < a.n_features; j += stride) {
        const CodeNumbers numbers = code_numbers(a.n_samples, a.out.count[j], a.out.missing[j], a.out.zeros[j]);
        const float lift = a.how.offset != nullptr ? static_cast<float>(a.how.offset[j]) : 0.0f;
        float value[3];
#pragma unroll
        for (int c = 0; c < 3; ++c) {
            const float lifted = x.of[c] + lift;
            negative += lifted < 0.0f ? static_cast<unsigned long long>(numbers.of[c]) : 0u;
            value[c] = at_least(floor, lifted);
            value[c] = a.how.log ? log1p(value[c], table) : value[c];
        }
        write_stats(code_stats(numbers, value, a.copies), a.n_samples, j, a.out);
    }
    if (a.counts != nullptr && negative > 0) {
        atomicAdd(a.counts, negative);
    }
}

unsigned blocks_of_threads(std::int64_t n_threads) {
    return blocks_for((n_threads + block_threads - 1) / block_threads);
}

}  // namespace

void column_stats_packed(const PackedView& x, std::int32_t copies, const StatsArguments& how, const StatsOutput& out,
                         unsigned long long* counts, void* stream, std::int64_t enough_threads) {
    if (x.n_features == 0) {
        return;
    }
    const std::int64_t n_words = (x.row_bytes() + word_bytes - 1) / word_bytes;
    std::int64_t rounds = 1;
    while (rounds < most_rounds && n_words * (x.n_samples / (2 * rounds * round_samples)) >= enough_threads) {
        rounds *= 2;
    }
    const std::int64_t span = rounds * round_samples;
    const std::int64_t n_spans = x.n_samples > span ? (x.n_samples + span - 1) / span : 1;
    const Counting counting{x, n_words, n_spans, span, out};
    if (n_spans > 1) {
        launch(clear_counts, blocks_of_threads(x.n_features), block_threads, 0, stream, out, x.n_features);
    }
    const auto places = reinterpret_cast<std::uintptr_t>(x.bits) | static_cast<std::uintptr_t>(x.sample_stride);
    launch(places % 4 == 0   ? count_bits<std::uint32_t>
           : places % 2 == 0 ? count_bits<std::uint16_t>
                             : count_bits<std::uint8_t>,
           blocks_of_threads(n_words * n_spans), block_threads, 0, stream, counting);
    launch(finish_stats, blocks_of_threads(x.n_features), block_threads, 0, stream,
           Finishing{x.n_samples, x.n_features, copies, how, out, log_table(), counts});
}

}  // namespace pixfold::cuda
