// Elements on the device. Kernels are compiled for the width of an element and what they compute in; which type
// of that width it is, a switch says that is the same for all threads and stands outside the loops over values.
#pragma once

#include <bit>
#include <cstdint>

#include "math/elements.hpp"
#include "pixfold/views.hpp"
#include "simt.hpp"

namespace pixfold::cuda {

// An element as it is stored, and as it is computed with.
template <class W, class C>
struct Storage {
    using Word = W;
    using Compute = C;
};

// Calls f with the Storage of dtype.
template <class F>
void with_storage(DType dtype, F&& f) {
    switch (dtype) {
        case DType::b8:
        case DType::u8:
        case DType::i8:
            return f(Storage<std::uint8_t, float>{});
        case DType::f16:
        case DType::bf16:
        case DType::i16:
        case DType::u16:
            return f(Storage<std::uint16_t, float>{});
        case DType::f32:
            return f(Storage<std::uint32_t, float>{});
        case DType::i32:
        case DType::u32:
            return f(Storage<std::uint32_t, double>{});
        case DType::f64:
        case DType::i64:
        case DType::u64:
            return f(Storage<std::uint64_t, double>{});
    }
}

// The same of a float's dtype.
template <class F>
void with_float_storage(DType dtype, F&& f) {
    switch (dtype) {
        case DType::f16:
        case DType::bf16:
            return f(Storage<std::uint16_t, float>{});
        case DType::f64:
            return f(Storage<std::uint64_t, double>{});
        default:
            return f(Storage<std::uint32_t, float>{});
    }
}

// value[...] = the numbers that words[...] stand for.
template <class C, class Word, int n>
__device__ void decode(DType dtype, const Word (&words)[n], C (&value)[n]) {
    const auto each = [&](auto&& number) {
#pragma unroll
        for (int k = 0; k < n; ++k) {
            value[k] = static_cast<C>(number(words[k]));
        }
    };
    if constexpr (sizeof(Word) == 1) {
        if (dtype == DType::i8) {
            each([](Word w) { return static_cast<std::int8_t>(w); });
        } else {
            each([](Word w) { return w; });
        }
    } else if constexpr (sizeof(Word) == 2) {
        switch (dtype) {
            case DType::f16:
                return each([](Word w) { return to_float(Half{w}); });
            case DType::bf16:
                return each([](Word w) { return to_float(BFloat{w}); });
            case DType::i16:
                return each([](Word w) { return static_cast<std::int16_t>(w); });
            default:
                return each([](Word w) { return w; });
        }
    } else if constexpr (sizeof(Word) == 4 && sizeof(C) == 4) {
        each([](Word w) { return std::bit_cast<float>(w); });
    } else if constexpr (sizeof(Word) == 4) {
        if (dtype == DType::i32) {
            each([](Word w) { return static_cast<std::int32_t>(w); });
        } else {
            each([](Word w) { return w; });
        }
    } else {
        switch (dtype) {
            case DType::f64:
                return each([](Word w) { return std::bit_cast<double>(w); });
            case DType::i64:
                return each([](Word w) { return static_cast<std::int64_t>(w); });
            default:
                return each([](Word w) { return w; });
        }
    }
}

template <class C, class Word>
__device__ C decode_one(DType dtype, Word word) {
    const Word words[1] = {word};
    C value[1];
    decode(dtype, words, value);
    return value[0];
}

// words[...] = value[...] as elements of dtype, a float's; rounded once.
template <class C, class Word, int n>
__device__ void encode(DType dtype, const C (&value)[n], Word (&words)[n]) {
    const auto each = [&](auto element) {
#pragma unroll
        for (int k = 0; k < n; ++k) {
            store(&element, value[k]);
            words[k] = std::bit_cast<Word>(element);
        }
    };
    if constexpr (sizeof(Word) == 2) {
        if (dtype == DType::f16) {
            each(Half{});
        } else {
            each(BFloat{});
        }
    } else if constexpr (sizeof(Word) == 4) {
        each(float{});
    } else {
        each(double{});
    }
}

template <class Word, class C>
__device__ Word encode_one(DType dtype, C value) {
    const C values[1] = {value};
    Word word[1];
    encode(dtype, values, word);
    return word[0];
}

}  // namespace pixfold::cuda
