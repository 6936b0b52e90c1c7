// Views of caller-owned memory: pointers, sizes, strides and element types. Nothing here owns or allocates.
#pragma once

#include <cstdint>

namespace pixfold {

enum class DType : std::int32_t { f32, f64, f16, bf16, b8, i8, u8, i16, u16, i32, u32, i64, u64 };

// (n_samples, n_features) matrix; strides in bytes, of any sign.
struct DenseView {
    const void* data;
    DType dtype;
    std::int64_t n_samples;
    std::int64_t n_features;
    std::int64_t sample_stride;
    std::int64_t feature_stride;
};

// Compressed sparse rows with canonical rows: indices of a row strictly increasing. 64-bit row pointers.
struct CsrView {
    const void* values;
    DType dtype;
    const void* indices;
    bool wide_indices;  // int64 indices, else int32
    const std::int64_t* row_start;
    std::int64_t n_samples;
    std::int64_t n_features;
};

// A layout as the kernels walk it: the features that have a pixel, sorted by pixel. Numbers of 32 bits, because they
// are read once per value: half the bytes.
struct SlotView {
    const std::int32_t* feature;  // [n_slots], no feature twice
    const std::int32_t* pixel;    // [n_slots], non-decreasing
    std::int64_t n_slots;
    std::int64_t n_pixels;
    bool identity_features;  // feature[k] == k
    bool identity_pixels;    // pixel[k] == k
    bool one_to_one;         // no pixel twice
};

// Kernels compute in float for inputs that float holds exactly, in double for the others, and round once to the output.
constexpr bool computes_in_double(DType dtype) {
    return dtype == DType::f64 || dtype == DType::i32 || dtype == DType::u32 || dtype == DType::i64 ||
           dtype == DType::u64;
}

}  // namespace pixfold

namespace pixfold::cuda {

// Scratch memory of the caller's on the device, aligned to 256 bytes: what an op asks for, or less, or none.
struct Workspace {
    void* data = nullptr;
    std::int64_t bytes = 0;
};

// A layout on the device, as the kernels walk it: from pixel to slot, so that they write every pixel once, in order.

struct Slots {
    const std::int32_t* feature;     // [n_slots], no feature twice; null: slot k holds feature k
    const std::int32_t* first_slot;  // [n_pixels + 1]: pixel p has slots first_slot[p] to first_slot[p + 1] - 1;
                                     // null: pixel p has slot p, and none from n_slots on
    std::int64_t n_slots;
    std::int64_t n_pixels;
    bool one_to_one;  // no pixel has two slots
};

}  // namespace pixfold::cuda
