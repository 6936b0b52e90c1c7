#include "arrays.hpp"

#include <bit>

namespace pixfold::bindings {
namespace {

// NumPy writes this machine's byte order as '=', and as '<' or '>' where somebody asked for it by name (Zarr does).
bool is_native(const py::dtype& dtype) {
    constexpr char by_name = std::endian::native == std::endian::little ? '<' : '>';
    const char order = dtype.byteorder();
    return order == '=' || order == '|' || order == by_name;
}

}  // namespace

void refuse(const char* op, const char* argument, const std::string& expected, const std::string& got) {
    throw py::value_error(std::string(op) + ": " + argument + " must be " + expected + ", got " + got);
}

std::string describe(const py::array& array) {
    std::string text = "a " + std::string(py::str(array.dtype())) + " array of shape (";
    for (py::ssize_t d = 0; d < array.ndim(); ++d) {
        text.append(d > 0 ? ", " : "").append(std::to_string(array.shape(d)));
    }
    return text + ")";
}

DType dtype_of(const char* op, const char* argument, const py::array& array, bool bfloat16) {
    const py::dtype dtype = array.dtype();
    if (is_native(dtype)) {
        switch (dtype.kind()) {
            case 'b':
                return DType::b8;
            case 'f':
                switch (dtype.itemsize()) {
                    case 2:
                        return DType::f16;
                    case 4:
                        return DType::f32;
                    case 8:
                        return DType::f64;
                    default:
                        break;
                }
                break;
            case 'i':
                switch (dtype.itemsize()) {
                    case 1:
                        return DType::i8;
                    case 2:
                        return DType::i16;
                    case 4:
                        return DType::i32;
                    default:
                        return DType::i64;
                }
            case 'u':
                switch (dtype.itemsize()) {
                    case 1:
                        return DType::u8;
                    case 2:
                        return bfloat16 ? DType::bf16 : DType::u16;
                    case 4:
                        return DType::u32;
                    default:
                        return DType::u64;
                }
            default:
                break;
        }
    }
    throw py::type_error(std::string(op) + ": " + argument +
                         " must be of a float16/32/64, bool or integer dtype in native byte order, got " +
                         std::string(py::str(dtype)));
}

DenseView dense_view(const char* op, const py::array& x, bool bfloat16) {
    const DType dtype = dtype_of(op, "X", x, bfloat16);
    if (x.ndim() != 2) {
        refuse(op, "X", "two-dimensional (n_samples, n_features)", describe(x));
    }
    return {x.data(), dtype, x.shape(0), x.shape(1), x.strides(0), x.strides(1)};
}

}  // namespace pixfold::bindings
