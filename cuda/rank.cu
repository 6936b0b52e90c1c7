// rank: a survey, keys, CUB's sort of them, and what follows from their order.
#include "launch.hpp"
#include "math/order.hpp"
#include "pixfold/rank.hpp"
#include "sort.hpp"
#include "tiles.hpp"

namespace pixfold::cuda {
namespace {

constexpr std::int64_t values_per_thread = 8;
constexpr std::int64_t most_partial = 1024;  // surveys of blocks, which one block joins

__device__ Survey joined(const Survey& a, const Survey& b) {
    const bool of_a = b.first_nan < 0 || (a.first_nan >= 0 && a.first_nan < b.first_nan);
    return {of_a ? a.first_nan : b.first_nan, a.least < b.least ? a.least : b.least, a.most > b.most ? a.most : b.most,
            a.varying | b.varying};
}

// Surveys of single values.
struct ValueSurveys {
    const double* values;

    __device__ Survey operator()(std::int64_t i) const {
        const std::int64_t order = order_of(values[i]);
        return {values[i] != values[i] ? i : -1, order, order, static_cast<std::uint64_t>(order ^ order_of(values[0]))};
    }
};

struct PartialSurveys {
    const Survey* partial;

    __device__ Survey operator()(std::int64_t i) const { return partial[i]; }
};

// Joins n surveys, at least one, to one of each block. Joining one twice changes nothing: a thread that has none takes
// the first.
template <class Surveys>
__global__ void __launch_bounds__(block_threads) join_surveys(const Surveys surveys, std::int64_t n, Survey* joint) {
    constexpr unsigned n_warps = block_threads / warp_threads;
    __shared__ Survey of_warp[n_warps];
    Survey mine = surveys(0);
    for (std::int64_t i = std::int64_t{blockIdx.x} * block_threads + threadIdx.x; i < n;
         i += std::int64_t{gridDim.x} * block_threads) {
        mine = joined(mine, surveys(i));
    }
    for (unsigned flip = warp_threads / 2; flip > 0; flip /= 2) {
        mine = joined(mine,
                      {__shfl_xor_sync(whole_warp, mine.first_nan, flip), __shfl_xor_sync(whole_warp, mine.least, flip),
                       __shfl_xor_sync(whole_warp, mine.most, flip), __shfl_xor_sync(whole_warp, mine.varying, flip)});
    }
    if (threadIdx.x % warp_threads == 0) {
        of_warp[threadIdx.x / warp_threads] = mine;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (unsigned w = 1; w < n_warps; ++w) {
            mine = joined(mine, of_warp[w]);
        }
        joint[blockIdx.x] = mine;
    }
}

__global__ void __launch_bounds__(block_threads)
    make_pairs(const double* values, std::int64_t n, std::int64_t most, Pairs pairs) {
    for (std::int64_t i = std::int64_t{blockIdx.x} * block_threads + threadIdx.x; i < n;
         i += std::int64_t{gridDim.x} * block_threads) {
        pairs.keys[i] = below(most, order_of(values[i]));
        pairs.positions[i] = static_cast<std::uint32_t>(i);
    }
}

// Of the group of keys that are equal to keys[i].
__device__ std::int64_t first_of_group(const std::uint64_t* keys, std::int64_t i) {
    std::int64_t in = i;  // in the group
    std::int64_t step = 1;
    for (; in - step >= 0 && keys[in - step] == keys[i]; step *= 2) {
        in -= step;
    }
    std::int64_t out = in - step < 0 ? -1 : in - step;  // before the group
    while (in - out > 1) {
        const std::int64_t middle = out + (in - out) / 2;
        (keys[middle] == keys[i] ? in : out) = middle;
    }
    return in;
}
__device__ std::int64_t end_of_group(const std::uint64_t* keys, std::int64_t i, std::int64_t n) {
    std::int64_t in = i;
    std::int64_t step = 1;
    for (; in + step < n && keys[in + step] == keys[i]; step *= 2) {
        in += step;
    }
    std::int64_t out = in + step < n ? in + step : n;
    while (out - in > 1) {
        const std::int64_t middle = in + (out - in) / 2;
        (keys[middle] == keys[i] ? in : out) = middle;
    }
    return out;
}

__global__ void __launch_bounds__(block_threads) share_ranks(const Pairs sorted, std::int64_t n, double* ranks) {
    for (std::int64_t i = std::int64_t{blockIdx.x} * block_threads + threadIdx.x; i < n;
         i += std::int64_t{gridDim.x} * block_threads) {
        const std::int64_t first = first_of_group(sorted.keys, i);
        const std::int64_t end = end_of_group(sorted.keys, i, n);
        ranks[sorted.positions[i]] = 0.5 * static_cast<double>(first + 1 + end);
    }
}

__global__ void __launch_bounds__(block_threads)
    select(const Pairs sorted, std::int64_t n, std::int64_t cut, std::int64_t* positions, std::int64_t* n_selected) {
    for (std::int64_t i = std::int64_t{blockIdx.x} * block_threads + threadIdx.x; i < cut;
         i += std::int64_t{gridDim.x} * block_threads) {
        positions[i] = sorted.positions[i];
    }
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        const bool straddles = cut > 0 && cut < n && sorted.keys[cut - 1] == sorted.keys[cut];
        *n_selected = straddles ? first_of_group(sorted.keys, cut) : cut;
    }
}

unsigned blocks_of(std::int64_t n) {
    constexpr std::int64_t of_block = block_threads * values_per_thread;
    return blocks_for((n + of_block - 1) / of_block);
}

std::int64_t n_partial(std::int64_t n) {
    const std::int64_t blocks = blocks_of(n);
    return blocks < most_partial ? blocks : most_partial;
}

// The workspace of a sort.
struct SortSpace {
    explicit SortSpace(std::int64_t n) : pairs_bytes(whole(n * 8)), positions_bytes(whole(n * 4)) {}

    Pairs pairs(void* workspace, int which) const {
        char* keys = static_cast<char*>(workspace) + which * pairs_bytes;
        char* positions = static_cast<char*>(workspace) + 2 * pairs_bytes + which * positions_bytes;
        return {reinterpret_cast<std::uint64_t*>(keys), reinterpret_cast<std::uint32_t*>(positions)};
    }
    void* scratch(void* workspace) const {
        return static_cast<char*>(workspace) + 2 * pairs_bytes + 2 * positions_bytes;
    }

    static std::int64_t whole(std::int64_t bytes) { return (bytes + 255) / 256 * 256; }

    std::int64_t pairs_bytes;
    std::int64_t positions_bytes;
};

Pairs sorted_pairs(const double* values, std::int64_t n, const Survey& survey, void* workspace, void* stream) {
    const SortSpace space(n);
    const Pairs pairs = space.pairs(workspace, 0);
    launch(make_pairs, blocks_of(n), block_threads, 0, stream, values, n, survey.most, pairs);
    const VaryingBits bits(survey);
    return sort_pairs(pairs, space.pairs(workspace, 1), n, bits.first, bits.end, space.scratch(workspace),
                      sort_scratch_bytes(n), stream);
}

}  // namespace

std::int64_t survey_workspace_bytes(std::int64_t n) { return n_partial(n) * static_cast<std::int64_t>(sizeof(Survey)); }

std::int64_t rank_workspace_bytes(std::int64_t n) {
    const SortSpace space(n);
    return 2 * space.pairs_bytes + 2 * space.positions_bytes + sort_scratch_bytes(n);
}

void survey(const double* values, std::int64_t n, void* workspace, Survey* found, void* stream) {
    auto* partial = static_cast<Survey*>(workspace);
    const std::int64_t blocks = n_partial(n);
    launch(join_surveys<ValueSurveys>, blocks_for(blocks), block_threads, 0, stream, ValueSurveys{values}, n, partial);
    launch(join_surveys<PartialSurveys>, 1, block_threads, 0, stream, PartialSurveys{partial}, blocks, found);
}

void average_ranks(const double* values, std::int64_t n, const Survey& survey, double* ranks, void* workspace,
                   void* stream) {
    const Pairs sorted = sorted_pairs(values, n, survey, workspace, stream);
    launch(share_ranks, blocks_of(n), block_threads, 0, stream, sorted, n, ranks);
}

void top_k(const double* values, std::int64_t n, const Survey& survey, std::int64_t k, std::int64_t* positions,
           std::int64_t* n_selected, void* workspace, void* stream) {
    const std::int64_t cut = survey.least == survey.most || k == 0 ? 0 : (k < n ? k : n);
    const Pairs sorted = cut > 0 ? sorted_pairs(values, n, survey, workspace, stream) : Pairs{};
    launch(select, cut > 0 ? blocks_of(cut) : 1, block_threads, 0, stream, sorted, n, cut, positions, n_selected);
}

}  // namespace pixfold::cuda
