// What a kernel needs for the length of a call: memory, and the number of the thread that asks.
#pragma once

#include <cstdint>

#include "math/isa.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace pixfold::PIXFOLD_ISA {

// Memory of one call. Not std::vector: see isa.hpp.
template <class T>
struct Buffer {
    explicit Buffer(std::int64_t n) : data(new T[static_cast<std::size_t>(n)]) {}
    ~Buffer() { delete[] data; }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    T* data;
};

inline std::int64_t thread_number() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

}  // namespace pixfold::PIXFOLD_ISA
