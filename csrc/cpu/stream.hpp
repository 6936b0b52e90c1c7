// Stores that go round the caches, for output that is larger than they are: a line that is written whole need not be
// read first.
#pragma once

#include <cstdint>
#include <cstring>

#include "pixfold/isa.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace pixfold::PIXFOLD_ISA {

constexpr std::int64_t line_bytes = 64;

// Output of this size is not worth a place in the caches: it would not be there any more when it is read.
constexpr std::int64_t streamed_bytes = std::int64_t{1} << 24;

// Bytes from `at` to the next line.
inline std::int64_t to_line(const void* at) {
    return static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(at) & (line_bytes - 1));
}

// Copies n bytes; whole lines of `to` are streamed.
inline void copy_streaming(void* to, const void* from, std::int64_t n) {
#if defined(__SSE2__)
    auto* out = static_cast<char*>(to);
    const auto* in = static_cast<const char*>(from);
    const std::int64_t head = to_line(out) < n ? to_line(out) : n;
    std::memcpy(out, in, static_cast<std::size_t>(head));
    std::int64_t at = head;
    for (; at + line_bytes <= n; at += line_bytes) {
#if defined(__AVX512F__)
        _mm512_stream_si512(reinterpret_cast<__m512i*>(out + at), _mm512_loadu_si512(in + at));
#elif defined(__AVX__)
        for (std::int64_t part = at; part < at + line_bytes; part += 32) {
            _mm256_stream_si256(reinterpret_cast<__m256i*>(out + part),
                                _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + part)));
        }
#else
        for (std::int64_t part = at; part < at + line_bytes; part += 16) {
            _mm_stream_si128(reinterpret_cast<__m128i*>(out + part),
                             _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + part)));
        }
#endif
    }
    std::memcpy(out + at, in + at, static_cast<std::size_t>(n - at));
#else
    std::memcpy(to, from, static_cast<std::size_t>(n));
#endif
}

// Streamed stores are ordered before what this thread does next.
inline void finish_streaming() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

}  // namespace pixfold::PIXFOLD_ISA
