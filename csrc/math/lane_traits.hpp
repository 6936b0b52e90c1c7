// A scalar is a register of one lane: what is written for a register also serves one value, with the same bits. The
// registers themselves are in csrc/cpu/simd/lanes.hpp; CUDA devices have scalars alone.
#pragma once

#include <bit>
#include <cstdint>

#include "isa.hpp"

namespace pixfold::PIXFOLD_ISA {

template <class F>
struct LaneTraits;
template <>
struct LaneTraits<float> {
    using Scalar = float;
    using Bits = std::uint32_t;
};
template <>
struct LaneTraits<double> {
    using Scalar = double;
    using Bits = std::uint64_t;
};

template <class F>
constexpr typename LaneTraits<F>::Bits bits_of(F x) {
    return std::bit_cast<typename LaneTraits<F>::Bits>(x);
}
template <class F>
constexpr F from_bits(typename LaneTraits<F>::Bits bits) {
    return std::bit_cast<F>(bits);
}

// Selections written so that a NaN in x stays: x < lo ? lo : x, and x > hi ? hi : x.
template <class F>
constexpr F at_least(F lo, F x) {
    return x < lo ? lo : x;
}
template <class F>
constexpr F at_most(F hi, F x) {
    return x > hi ? hi : x;
}

}  // namespace pixfold::PIXFOLD_ISA
