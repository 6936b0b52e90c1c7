// Several elements side by side, moved as one access of up to 16 bytes, and accesses that the caches need not keep.
#pragma once

#include <bit>
#include <cstdint>

#include "simt.hpp"

namespace pixfold::cuda {

// n elements, aligned so that they are one access where they fill 16 bytes or less.
template <class T, int n>
struct alignas(sizeof(T) * n < 16 ? sizeof(T) * n : 16) Words {
    T of[n];
};

#ifdef PIXFOLD_SIMT_SHIM

template <class W>
W load_once(const W* from) {
    return *from;
}
template <class W>
void store_word(W* to, const W& value) {
    *to = value;
}
template <class W>
void set_words(W* to, const W& value) {
    *to = value;
}
template <class W>
W get_words(const W* from) {
    return *from;
}
template <class W>
void store_once(W* to, const W& value) {
    *to = value;
}

#else

namespace detail {
template <int bytes>
struct Access;
template <>
struct Access<1> {
    using type = unsigned char;
};
template <>
struct Access<2> {
    using type = unsigned short;
};
template <>
struct Access<4> {
    using type = unsigned;
};
template <>
struct Access<8> {
    using type = uint2;
};
template <>
struct Access<16> {
    using type = uint4;
};
template <>
struct Access<32> {
    using type = Words<uint4, 2>;
};
}  // namespace detail

// Read, and written, once: the first to leave the caches.
template <class W>
__device__ W load_once(const W* from) {
    if constexpr (sizeof(W) == 32) {
        const uint4* half = reinterpret_cast<const uint4*>(from);
        return std::bit_cast<W>(Words<uint4, 2>{{__ldcs(half), __ldcs(half + 1)}});
    } else {
        using A = typename detail::Access<sizeof(W)>::type;
        return std::bit_cast<W>(__ldcs(reinterpret_cast<const A*>(from)));
    }
}
// As one access: the compiler takes the assignment of several elements apart.
template <class W>
__device__ void store_word(W* to, const W& value) {
    using A = typename detail::Access<sizeof(W)>::type;
    __stwb(reinterpret_cast<A*>(to), std::bit_cast<A>(value));
}
// The same in shared memory.
template <class W>
__device__ void set_words(W* to, const W& value) {
    using A = typename detail::Access<sizeof(W)>::type;
    *reinterpret_cast<A*>(to) = std::bit_cast<A>(value);
}
template <class W>
__device__ W get_words(const W* from) {
    using A = typename detail::Access<sizeof(W)>::type;
    return std::bit_cast<W>(*reinterpret_cast<const A*>(from));
}
template <class W>
__device__ void store_once(W* to, const W& value) {
    if constexpr (sizeof(W) == 32) {
        const auto halves = std::bit_cast<Words<uint4, 2> >(value);
        __stcs(reinterpret_cast<uint4*>(to), halves.of[0]);
        __stcs(reinterpret_cast<uint4*>(to) + 1, halves.of[1]);
    } else {
        using A = typename detail::Access<sizeof(W)>::type;
        __stcs(reinterpret_cast<A*>(to), std::bit_cast<A>(value));
    }
}

#endif

}  // namespace pixfold::cuda
