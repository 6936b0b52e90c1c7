// Arrays that Python hands over, and the checks of a call's arguments: one way and one set of words for both modules.
//
// An Array is a NumPy array, or a tensor on the CPU or a CUDA device: what has data_ptr(), shape, stride(), dtype and
// device. Every size, type and place is checked before the GIL is released, so that no call of a module, however wrong,
// reads or writes outside an array.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>

#include "pixfold/fold.hpp"
#include "pixfold/fold_gradient.hpp"
#include "pixfold/packed.hpp"
#include "pixfold/unfold_gradient.hpp"
#include "pixfold/views.hpp"

namespace pixfold::bindings {

namespace py = pybind11;

// Devices are numbered as CUDA numbers them.
inline constexpr int on_cpu = -1;
inline constexpr int unknown_device = -2;

// Bytes of an element.
constexpr std::int64_t size_of(DType dtype) {
    switch (dtype) {
        case DType::b8:
        case DType::i8:
        case DType::u8:
            return 1;
        case DType::f16:
        case DType::bf16:
        case DType::i16:
        case DType::u16:
            return 2;
        case DType::f32:
        case DType::i32:
        case DType::u32:
            return 4;
        default:
            return 8;
    }
}

constexpr bool is_float(DType dtype) {
    return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::f16 || dtype == DType::bf16;
}

const char* name_of(DType dtype);

template <class T>
constexpr DType dtype_for() {
    if constexpr (std::is_same_v<T, float>) {
        return DType::f32;
    } else if constexpr (std::is_same_v<T, double>) {
        return DType::f64;
    } else if constexpr (std::is_same_v<T, std::int32_t>) {
        return DType::i32;
    } else if constexpr (std::is_same_v<T, std::int64_t>) {
        return DType::i64;
    } else {
        static_assert(std::is_same_v<T, std::uint8_t>);
        return DType::u8;
    }
}

// a * b, or -1, which is no array's size, where one is negative or 64 bits do not hold the product.
constexpr std::int64_t product(std::int64_t a, std::int64_t b) {
    const bool held = a >= 0 && b >= 0 && (b == 0 || a <= std::numeric_limits<std::int64_t>::max() / b);
    return held ? a * b : -1;
}

struct Array {
    static constexpr int most_dimensions = 8;

    py::object owner;  // keeps the memory alive
    void* data = nullptr;
    std::optional<DType> dtype;  // none for what no kernel reads: other types, other byte orders
    bool writeable = false;
    int device = on_cpu;
    int ndim = 0;  // shape and strides hold no more than most_dimensions
    std::array<std::int64_t, most_dimensions> shape{};
    std::array<std::int64_t, most_dimensions> strides{};  // in bytes

    std::int64_t size() const;
    std::int64_t nbytes() const { return dtype ? size() * size_of(*dtype) : 0; }
    bool c_contiguous() const;
    bool aligned() const;
    // Its type, shape and place, for messages.
    std::string described() const;
};

// Reads a NumPy array or a tensor; false for anything else.
bool read(py::handle source, Array& to);

using OptionalArray = std::optional<Array>;

// `OP: ARGUMENT must be EXPECTED, got RECEIVED`, as a ValueError.
[[noreturn]] void refuse(const char* op, const char* argument, const std::string& expected, const std::string& got);

// The arguments of one call of an op. All arrays must be on its device.
class Arguments {
  public:
    explicit Arguments(const char* op, int device = on_cpu) : op_(op), device_(device) {}

    const char* op() const { return op_; }
    int device() const { return device_; }
    [[noreturn]] void refuse(const char* argument, const std::string& expected, const std::string& got) const {
        bindings::refuse(op_, argument, expected, got);
    }
    void check_device(const char* argument, int device) const;

    // The element type; throws TypeError for one that no kernel reads.
    DType dtype_of(const char* argument, const Array& array) const;

    // (n_samples, n_features) of any strides.
    DenseView samples(const char* argument, const Array& x) const;

    // A C-contiguous, aligned array of `size` elements of that type, whatever its shape.
    void* elements(const char* argument, const Array& array, DType dtype, std::int64_t size) const;
    void* output(const char* argument, const Array& array, DType dtype, std::int64_t size) const;

    template <class T>
    const T* vector(const char* argument, const Array& array, std::int64_t size) const {
        return static_cast<const T*>(elements(argument, array, dtype_for<T>(), size));
    }
    template <class T>
    const T* vector(const char* argument, const OptionalArray& array, std::int64_t size) const {
        return array ? vector<T>(argument, *array, size) : nullptr;
    }
    template <class T>
    T* output(const char* argument, const Array& array, std::int64_t size) const {
        return static_cast<T*>(output(argument, array, dtype_for<T>(), size));
    }

    // Gradients: C-contiguous, aligned floats. With respect to images they are not of 64 bits.
    ImageGradient image_gradient(const char* argument, const Array& gradient, std::int64_t n_samples,
                                 std::int64_t n_pixels) const;
    FeatureGradient feature_gradient(const char* argument, const Array& gradient, std::int64_t n_features) const;

    // Where images go: float32, float16 or bfloat16.
    FoldOutput images(const char* argument, const Array& out, std::int64_t n_samples, std::int64_t n_pixels) const;

    // Rows of n_codes codes of two bits each: uint8, the bytes of a row one after the other.
    PackedView packed(const char* argument, const Array& bits, std::int64_t n_codes) const;

  private:
    const char* op_;
    int device_;
};

// Compressed sparse rows by the sizes and types of their parts; indices are not looked at.
CsrView csr_view(const Arguments& of, const Array& values, const Array& indices, const Array& row_start,
                 std::int64_t n_features);

// What the bindings refuse is pixfold's own InputError, which is a ValueError.
void translate_input_errors();

}  // namespace pixfold::bindings

template <>
struct pybind11::detail::type_caster<pixfold::bindings::Array> {
    PYBIND11_TYPE_CASTER(pixfold::bindings::Array, const_name("typing.Any"));
    bool load(handle source, bool) { return pixfold::bindings::read(source, value); }
};
