// CUDA's words for kernels as host C++: a block's threads are fibers of one thread of the machine, blocks run one after
// the other. Odd blocks run their threads from the last to the first, so that a missing barrier shows in one order or
// the other. What a GPU would hang on or leave undefined ends the program with a line that says what it was:
//   - a barrier that some threads of the block wait at and others do not, or that they reach in different places
//   - a warp operation that not all lanes of its mask take part in
//   - a barrier of copies whose arrivals or bytes never come, one that more come to than it expects, a copy that is not
//     aligned, and a block that ends while copies are under way
// Copies to shared memory end at random later turns of the scheduler, and until then fill their place with rubbish, so
// that one that nobody waits for shows, and one into a place that is still read, too.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>

#define __global__
#define __host__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)

namespace pixfold::cuda {

struct Index {
    unsigned x;
};
inline Index threadIdx{}, blockIdx{}, blockDim{}, gridDim{};

constexpr unsigned warp_threads = 32;
constexpr unsigned whole_warp = 0xffffffffu;

namespace simt {

using Place = std::source_location;

struct Grid {
    unsigned blocks;
    unsigned threads;
    std::size_t shared;  // bytes
};

// The largest grid that blocks_for() gives: PIXFOLD_SIMT_BLOCKS in the environment, or whatever a test sets. 0, the
// default: as large as is asked for, or three blocks, so that blocks stride over units. Which of them, the number of
// units decides, because an op may ask twice and must be told the same.
extern std::int64_t most_blocks;
std::int64_t largest_grid(std::int64_t n_units);

// Kernels started so far.
extern std::int64_t launches;

// Runs `thread` once for every thread of the grid.
void run(const Grid& grid, const std::function<void()>& thread);

// The card that kernels are started for: multiprocessors, shared memory of a block, and whether it has the engine for
// bulk copies or only copies of 16 bytes.
extern int multiprocessors;
extern std::int64_t shared_bytes;
extern bool bulk_copies;

// What counts arrivals and bytes of copies (mbarrier): a phase ends when none of either is missing.
struct CopyBarrier {
    unsigned count;  // arrivals of a phase
    unsigned missing;
    std::int64_t bytes;  // announced and not there, or the other way round
    unsigned phase;      // phases that have ended
};
void barrier_init(CopyBarrier& barrier, unsigned count);
void barrier_arrive(CopyBarrier& barrier, std::uint32_t bytes);  // and announces bytes
void barrier_wait(CopyBarrier& barrier, unsigned parity, Place where);

// Copies at a later turn; `barrier`, unless it is null, gets the bytes then.
void copy_later(void* to, const void* from, std::size_t bytes, CopyBarrier* barrier);
// Arrives when the copies that this thread has begun so far are there.
void arrive_when_copied(CopyBarrier& barrier);

void* shared_memory();
void wait_for_block(Place where);

// Hands `value` to the lanes of `mask`, which includes this one, and gives what each of them handed in.
const std::uint64_t* exchange(unsigned mask, std::uint64_t value, Place where);

template <class T>
std::uint64_t to_bits(T value) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t));
    std::uint64_t bits = 0;
    __builtin_memcpy(&bits, &value, sizeof(T));
    return bits;
}
template <class T>
T from_lane(const std::uint64_t* lanes, unsigned lane) {
    T value;
    __builtin_memcpy(&value, &lanes[lane], sizeof(T));
    return value;
}

}  // namespace simt

template <class T>
T* dynamic_shared() {
    return static_cast<T*>(simt::shared_memory());
}

inline void __syncthreads(simt::Place where = simt::Place::current()) { simt::wait_for_block(where); }
inline void __syncwarp(unsigned mask = whole_warp, simt::Place where = simt::Place::current()) {
    simt::exchange(mask, 0, where);
}

template <class T>
T __shfl_sync(unsigned mask, T value, unsigned lane, simt::Place where = simt::Place::current()) {
    return simt::from_lane<T>(simt::exchange(mask, simt::to_bits(value), where), lane % warp_threads);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, unsigned flip, simt::Place where = simt::Place::current()) {
    return __shfl_sync(mask, value, (threadIdx.x % warp_threads) ^ flip, where);
}
// A lane whose source lies beyond the warp keeps its own value.
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, simt::Place where = simt::Place::current()) {
    const unsigned lane = threadIdx.x % warp_threads;
    return __shfl_sync(mask, value, lane + by < warp_threads ? lane + by : lane, where);
}
inline unsigned __ballot_sync(unsigned mask, int condition, simt::Place where = simt::Place::current()) {
    const std::uint64_t* lanes = simt::exchange(mask, condition != 0 ? 1 : 0, where);
    unsigned votes = 0;
    for (unsigned lane = 0; lane < warp_threads; ++lane) {
        votes |= (mask >> lane & 1u) != 0 && lanes[lane] != 0 ? 1u << lane : 0u;
    }
    return votes;
}
inline int __any_sync(unsigned mask, int condition, simt::Place where = simt::Place::current()) {
    return __ballot_sync(mask, condition, where) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int condition, simt::Place where = simt::Place::current()) {
    return __ballot_sync(mask, condition, where) == mask ? 1 : 0;
}

// Four of the eight bytes of two words, by the lowest three bits of each nibble of `which`.
inline std::uint32_t __byte_perm(std::uint32_t low, std::uint32_t high, std::uint32_t which) {
    const std::uint64_t bytes = std::uint64_t{high} << 32 | low;
    std::uint32_t chosen = 0;
    for (unsigned k = 0; k < 4; ++k) {
        chosen |= static_cast<std::uint32_t>(bytes >> (8 * (which >> (4 * k) & 7u)) & 0xffu) << (8 * k);
    }
    return chosen;
}

template <class T>
T atomicAdd(T* to, T value) {
    const T before = *to;
    *to = before + value;
    return before;
}

}  // namespace pixfold::cuda
