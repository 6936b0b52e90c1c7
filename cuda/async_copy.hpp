// Copies from memory to shared memory that run while the threads do something else, and what waits for them.
//
// A CopyBarrier counts arrivals and bytes; a phase of it ends when all that it expects are there. One warp brings a row
// and arrives, others wait for the phase; when they are done with the row, they arrive at another barrier that the
// copying warp waits for. Which machinery copies, the card has:
//   - from compute capability 9.0 on the bulk copy engine, to which one lane hands the whole row
//   - before that 16 bytes of each lane at a time (cp.async), which arrive by themselves
// The simulator does either, and ends copies at random later turns; until then their place holds rubbish.
#pragma once

#include <cstdint>

#include "simt.hpp"

namespace pixfold::cuda {

#ifdef PIXFOLD_SIMT_SHIM

using CopyBarrier = simt::CopyBarrier;

// Arrivals at a barrier that copy_row() makes.
inline unsigned copy_arrivals() { return simt::bulk_copies ? warp_threads : 2 * warp_threads; }

inline void expect_arrivals(CopyBarrier& barrier, unsigned count) { simt::barrier_init(barrier, count); }
inline void give_back() {}
inline void arrive(CopyBarrier& barrier) { simt::barrier_arrive(barrier, 0); }
inline void wait_for(CopyBarrier& barrier, unsigned phase, simt::Place where = simt::Place::current()) {
    simt::barrier_wait(barrier, phase & 1u, where);
}

namespace detail {
inline bool has_bulk_copies() { return simt::bulk_copies; }
inline void arrive_expecting(CopyBarrier& barrier, std::uint32_t bytes) { simt::barrier_arrive(barrier, bytes); }
inline void bulk_copy(void* to, const void* from, std::uint32_t bytes, CopyBarrier& barrier) {
    simt::copy_later(to, from, bytes, &barrier);
}
inline void copy_16(void* to, const void* from) { simt::copy_later(to, from, 16, nullptr); }
inline void arrive_when_copied(CopyBarrier& barrier) { simt::arrive_when_copied(barrier); }
}  // namespace detail

#else

struct alignas(8) CopyBarrier {
    std::uint64_t state;
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define PIXFOLD_BULK_COPIES 1
#else
#define PIXFOLD_BULK_COPIES 0
#endif

__device__ inline unsigned copy_arrivals() { return PIXFOLD_BULK_COPIES ? warp_threads : 2 * warp_threads; }

namespace detail {

__device__ inline bool has_bulk_copies() { return PIXFOLD_BULK_COPIES; }

__device__ inline std::uint32_t shared_address(const void* p) {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

__device__ inline void arrive_expecting(CopyBarrier& barrier, std::uint32_t bytes) {
#if PIXFOLD_BULK_COPIES
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)), "r"(bytes)
                 : "memory");
#endif
}

// Both addresses and the size are multiples of 16 bytes.
__device__ inline void bulk_copy(void* to, const void* from, std::uint32_t bytes, CopyBarrier& barrier) {
#if PIXFOLD_BULK_COPIES
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(to)),
                 "l"(from), "r"(bytes), "r"(shared_address(&barrier))
                 : "memory");
#endif
}

__device__ inline void copy_16(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}

// An arrival that is made when all that this thread has copied so far is there.
__device__ inline void arrive_when_copied(CopyBarrier& barrier) {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(shared_address(&barrier)) : "memory");
}

}  // namespace detail

// By one thread, before the block's next barrier.
__device__ inline void expect_arrivals(CopyBarrier& barrier, unsigned count) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(detail::shared_address(&barrier)), "r"(count));
#if PIXFOLD_BULK_COPIES
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

__device__ inline void arrive(CopyBarrier& barrier) {
    asm volatile(
        "{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(detail::shared_address(&barrier))
        : "memory");
}

// By every thread that has written to a row's place, before it arrives where the next copy to that place is waited for:
// the engine does not see the order of other writes by itself.
__device__ inline void give_back() {
#if PIXFOLD_BULK_COPIES
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// Until phase number `phase` has ended; the first is 0. Of phase -1 nobody waits.
__device__ inline void wait_for(CopyBarrier& barrier, unsigned phase) {
#if PIXFOLD_BULK_COPIES
    asm volatile(
        "{\n.reg .pred done;\nagain:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n}" ::"r"(detail::shared_address(&barrier)),
        "r"(phase & 1u)
        : "memory");
#else
    asm volatile(
        "{\n.reg .pred done;\nagain:\n"
        "mbarrier.test_wait.parity.shared.b64 done, [%0], %1;\n"
        "@!done bra again;\n}" ::"r"(detail::shared_address(&barrier)),
        "r"(phase & 1u)
        : "memory");
#endif
}

#endif

// Elements of 16 bytes.
template <class T>
constexpr int copied_together = 16 / static_cast<int>(sizeof(T));

// Elements up to a 16-byte boundary, and from one.
template <class T>
__device__ int to_boundary(const T* from) {
    return static_cast<int>((16 - (reinterpret_cast<std::uintptr_t>(from) & 15)) & 15) / static_cast<int>(sizeof(T));
}
template <class T>
__device__ int from_boundary(const T* from) {
    return static_cast<int>(reinterpret_cast<std::uintptr_t>(from) & 15) / static_cast<int>(sizeof(T));
}

// A warp brings n elements to shared memory, where they lie against a 16-byte boundary as they did in memory; `full`
// has been told copy_arrivals(). Edges that fill no 16 bytes are moved by the lanes, and nothing beside the row is
// read.
template <class T>
__device__ void copy_row(T* to, const T* from, int n, unsigned lane, CopyBarrier& full) {
    constexpr int together = copied_together<T>;
    const int aligned = to_boundary(from);
    const int head = aligned < n ? aligned : n;
    const int middle = (n - head) / together * together;
    const int tail = n - head - middle;
    const int at = static_cast<int>(lane);
    if (at < head) {
        to[at] = from[at];
    }
    if (at < tail) {
        to[head + middle + at] = from[head + middle + at];
    }
    if (detail::has_bulk_copies()) {
        if (lane == 0 && middle > 0) {
            detail::arrive_expecting(full, static_cast<std::uint32_t>(middle) * sizeof(T));
            detail::bulk_copy(to + head, from + head, static_cast<std::uint32_t>(middle) * sizeof(T), full);
        } else {
            arrive(full);
        }
        return;
    }
    for (int k = at * together; k < middle; k += static_cast<int>(warp_threads) * together) {
        detail::copy_16(to + head + k, from + head + k);
    }
    detail::arrive_when_copied(full);
    arrive(full);  // of what it moved itself
}

}  // namespace pixfold::cuda
