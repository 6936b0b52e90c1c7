// Rows in fours of columns. Rows of 4-byte elements, or of 2-byte ones read four at a time, that are four apart begin
// alike: a block that takes such rows has aligned fours in all of them, or in none.
#pragma once

#include <cstdint>

#include "words.hpp"

namespace pixfold::cuda {

constexpr int row_period = 4;  // rows that far apart begin alike
constexpr int columns = 4;     // of a thread: a store of 16 bytes of floats

// Elements from a boundary of four of them up to `at`.
template <class T>
__device__ int behind_boundary(const T* at) {
    return static_cast<int>(reinterpret_cast<std::uintptr_t>(at) / sizeof(T) % columns);
}

// How four elements lie: on a boundary of four; two behind it, as two and two; or one or three behind it, as one and
// two and one.
enum class Fours { whole, halves, odd };

template <class T>
__device__ Fours fours_at(const T* at) {
    const int behind = behind_boundary(at);
    return behind == 0 ? Fours::whole : behind == 2 ? Fours::halves : Fours::odd;
}

// As few loads as they allow.
template <Fours fours, class T>
__device__ void load_four(const T* from, T (&to)[columns]) {
    const auto put = [&](int k, const auto& words) {
        for (std::size_t j = 0; j < sizeof(words) / sizeof(T); ++j) {
            to[k + static_cast<int>(j)] = words.of[j];
        }
    };
    const auto two = [&](int k) { put(k, load_once(reinterpret_cast<const Words<T, 2>*>(from + k))); };
    const auto one = [&](int k) { put(k, load_once(reinterpret_cast<const Words<T, 1>*>(from + k))); };
    if constexpr (fours == Fours::whole) {
        put(0, load_once(reinterpret_cast<const Words<T, 4>*>(from)));
    } else if constexpr (fours == Fours::halves) {
        two(0);
        two(2);
    } else {
        one(0);
        two(1);
        one(3);
    }
}

// The same where the loop is compiled once. All threads of a block should find the same.
template <class T>
__device__ void load_four(const T* from, T (&to)[columns]) {
    switch (fours_at(from)) {
        case Fours::whole:
            return load_four<Fours::whole>(from, to);
        case Fours::halves:
            return load_four<Fours::halves>(from, to);
        default:
            return load_four<Fours::odd>(from, to);
    }
}

}  // namespace pixfold::cuda
