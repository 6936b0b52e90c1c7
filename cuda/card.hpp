// What of the card decides how a kernel is started.
#pragma once

#include <cstddef>

#include "launch.hpp"

namespace pixfold::cuda {

struct Card {
    int multiprocessors;
    std::int64_t shared_bytes;  // that a block may have at most
};

#ifdef PIXFOLD_SIMT_SHIM

inline Card card() { return {simt::multiprocessors, simt::shared_bytes}; }

template <class... Parameters>
std::int64_t blocks_at_once(void (*)(Parameters...), unsigned, std::size_t) {
    return simt::multiprocessors;
}

#else

// Of the current device.
Card card();

namespace detail {
std::int64_t blocks_at_once(const void* kernel, unsigned threads, std::size_t shared);
}

// How many blocks of `threads` threads with `shared` bytes of dynamic shared memory the current device runs at the same
// time. Allows the kernel that much memory: beyond 48 KB it must be told. Throws Error.
template <class... Parameters>
std::int64_t blocks_at_once(void (*kernel)(Parameters...), unsigned threads, std::size_t shared) {
    return detail::blocks_at_once(reinterpret_cast<const void*>(kernel), threads, shared);
}

#endif

}  // namespace pixfold::cuda
