// Words of 16 bytes that are to stay in L2: written by one kernel and read by the next, while other data pass through.
#pragma once

#include <bit>
#include <cstdint>

#include "words.hpp"

namespace pixfold::cuda {

#ifdef PIXFOLD_SIMT_SHIM

template <class W>
void store_kept(W* to, const W& value) {
    *to = value;
}
template <class W>
W load_kept(const W* from) {
    return *from;
}

#else

namespace detail {
__device__ inline std::uint64_t last_to_leave() {
    std::uint64_t policy;
    asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}
}  // namespace detail

template <class W>
__device__ void store_kept(W* to, const W& value) {
    static_assert(sizeof(W) == 16);
    const uint4 w = std::bit_cast<uint4>(value);
    asm volatile("st.global.L2::cache_hint.v4.b32 [%0], {%1, %2, %3, %4}, %5;" ::"l"(to), "r"(w.x), "r"(w.y), "r"(w.z),
                 "r"(w.w), "l"(detail::last_to_leave())
                 : "memory");
}
template <class W>
__device__ W load_kept(const W* from) {
    static_assert(sizeof(W) == 16);
    uint4 w;
    asm volatile("ld.global.L1::no_allocate.L2::cache_hint.v4.b32 {%0, %1, %2, %3}, [%4], %5;"
                 : "=r"(w.x), "=r"(w.y), "=r"(w.z), "=r"(w.w)
                 : "l"(from), "l"(detail::last_to_leave())
                 : "memory");
    return std::bit_cast<W>(w);
}

#endif

}  // namespace pixfold::cuda
