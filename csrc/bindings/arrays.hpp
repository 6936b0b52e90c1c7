// From NumPy arrays to the kernels' views: every size and type is checked here, before the GIL is released, so that no
// call of the module, however wrong, reads or writes outside an array.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <limits>
#include <string>

#include "pixfold/views.hpp"

namespace pixfold::bindings {

namespace py = pybind11;

// `op: argument must be expected, got what came`, as a ValueError.
[[noreturn]] void refuse(const char* op, const char* argument, const std::string& expected, const std::string& got);

std::string describe(const py::array& array);

// The element type of an array; bfloat16 travels as uint16 bits with `bfloat16` set.
DType dtype_of(const char* op, const char* argument, const py::array& array, bool bfloat16 = false);

// a * b, or -1, which is no array's size, where one is negative or 64 bits do not hold the product.
inline std::int64_t product(std::int64_t a, std::int64_t b) {
    const bool held = a >= 0 && b >= 0 && (b == 0 || a <= std::numeric_limits<std::int64_t>::max() / b);
    return held ? a * b : -1;
}

inline bool is_aligned(const py::array& array, std::size_t alignment) {
    return reinterpret_cast<std::uintptr_t>(array.data()) % alignment == 0;
}

// A C-contiguous and aligned array of T with exactly `size` elements.
template <class T>
const T* vector_of(const char* op, const char* argument, const py::array& array, std::int64_t size) {
    if (!py::isinstance<py::array_t<T>>(array) || (array.flags() & py::array::c_style) == 0 || array.size() != size ||
        !is_aligned(array, alignof(T))) {
        refuse(op, argument,
               "a C-contiguous and aligned " + std::string(py::str(py::dtype::of<T>())) + " array of " +
                   std::to_string(size) + " elements",
               describe(array));
    }
    return static_cast<const T*>(array.data());
}

template <class T>
T* output_of(const char* op, const char* argument, py::array& array, std::int64_t size) {
    vector_of<T>(op, argument, array, size);
    if (!array.writeable()) {
        refuse(op, argument, "a writeable array", "a read-only one");
    }
    return static_cast<T*>(array.mutable_data());
}

DenseView dense_view(const char* op, const py::array& x, bool bfloat16);

}  // namespace pixfold::bindings
