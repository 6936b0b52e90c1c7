#include "array.hpp"

#include <pybind11/numpy.h>

#include <bit>
#include <exception>
#include <stdexcept>

namespace pixfold::bindings {
namespace {

constexpr std::array<std::pair<const char*, DType>, 13> names{{{"float32", DType::f32},
                                                               {"float64", DType::f64},
                                                               {"float16", DType::f16},
                                                               {"bfloat16", DType::bf16},
                                                               {"bool", DType::b8},
                                                               {"int8", DType::i8},
                                                               {"uint8", DType::u8},
                                                               {"int16", DType::i16},
                                                               {"uint16", DType::u16},
                                                               {"int32", DType::i32},
                                                               {"uint32", DType::u32},
                                                               {"int64", DType::i64},
                                                               {"uint64", DType::u64}}};

std::optional<DType> of_size(py::ssize_t size, DType one, DType two, DType four, DType eight) {
    return size == 1 ? one : size == 2 ? two : size == 4 ? four : eight;
}

// The element type of that name.
std::optional<DType> named(const std::string& name) {
    for (const auto& [known, dtype] : names) {
        if (name == known) {
            return dtype;
        }
    }
    return std::nullopt;
}

std::optional<DType> numpy_type(const py::dtype& dtype) {
    // NumPy writes this machine's byte order as '=', and as '<' or '>' where somebody asked for it by name (Zarr does).
    constexpr char by_name = std::endian::native == std::endian::little ? '<' : '>';
    const char order = dtype.byteorder();
    const py::ssize_t size = dtype.itemsize();
    if (order != '=' && order != '|' && order != by_name) {
        return std::nullopt;
    }
    switch (dtype.kind()) {
        case 'b':
            return DType::b8;
        case 'i':
            return of_size(size, DType::i8, DType::i16, DType::i32, DType::i64);
        case 'u':
            return of_size(size, DType::u8, DType::u16, DType::u32, DType::u64);
        case 'f':
            return size == 2   ? std::optional(DType::f16)
                   : size == 4 ? std::optional(DType::f32)
                   : size == 8 ? std::optional(DType::f64)
                               : std::nullopt;
        case 'V':  // ml_dtypes gives NumPy its bfloat16
            return size == 2 && std::string(py::str(dtype)) == "bfloat16" ? std::optional(DType::bf16) : std::nullopt;
        default:
            return std::nullopt;
    }
}

std::string type_name(py::handle array) {
    const std::string name = py::str(array.attr("dtype"));
    constexpr const char* torch = "torch.";
    return name.rfind(torch, 0) == 0 ? name.substr(std::char_traits<char>::length(torch)) : name;
}

void read_numpy(const py::array& source, Array& to) {
    to.owner = source;
    to.data = const_cast<void*>(source.data());
    to.writeable = source.writeable();
    to.device = on_cpu;
    to.ndim = static_cast<int>(source.ndim());
    to.dtype = to.ndim > Array::most_dimensions ? std::nullopt : numpy_type(source.dtype());
    for (int d = 0; to.dtype && d < to.ndim; ++d) {
        const auto at = static_cast<std::size_t>(d);
        to.shape[at] = source.shape(d);
        to.strides[at] = source.strides(d);
    }
}

int device_of(py::handle tensor) {
    const py::object device = tensor.attr("device");
    const std::string type = py::str(device.attr("type"));
    if (type == "cpu") {
        return on_cpu;
    }
    const py::object index = device.attr("index");
    return type != "cuda" ? unknown_device : index.is_none() ? 0 : py::cast<int>(index);
}

void read_tensor(py::handle source, Array& to) {
    to.owner = py::reinterpret_borrow<py::object>(source);
    to.data = reinterpret_cast<void*>(py::cast<std::uintptr_t>(source.attr("data_ptr")()));
    to.writeable = true;
    to.device = device_of(source);
    const py::tuple shape = source.attr("shape");
    const py::tuple strides = source.attr("stride")();
    to.ndim = static_cast<int>(shape.size());
    to.dtype = to.ndim > Array::most_dimensions ? std::nullopt : named(type_name(source));
    for (std::size_t d = 0; to.dtype && d < shape.size(); ++d) {
        to.shape[d] = py::cast<std::int64_t>(shape[d]);
        to.strides[d] = py::cast<std::int64_t>(strides[d]) * size_of(*to.dtype);
    }
}

std::string place_of(int device) {
    return device == on_cpu           ? "the CPU"
           : device == unknown_device ? "another device"
                                      : "cuda:" + std::to_string(device);
}

}  // namespace

const char* name_of(DType dtype) {
    for (const auto& [name, known] : names) {
        if (known == dtype) {
            return name;
        }
    }
    return "";
}

bool read(py::handle source, Array& to) {
    if (py::isinstance<py::array>(source)) {
        read_numpy(py::reinterpret_borrow<py::array>(source), to);
        return true;
    }
    if (py::hasattr(source, "data_ptr")) {
        read_tensor(source, to);
        return true;
    }
    return false;
}

std::int64_t Array::size() const {
    std::int64_t n = 1;
    for (int d = 0; d < ndim && d < most_dimensions; ++d) {
        n = product(n, shape[static_cast<std::size_t>(d)]);
    }
    return n;
}

bool Array::c_contiguous() const {
    if (!dtype) {
        return false;
    }
    std::int64_t expected = size_of(*dtype);
    bool follows = true;
    for (int d = ndim - 1; d >= 0; --d) {
        const auto at = static_cast<std::size_t>(d);
        if (shape[at] == 0) {
            return true;
        }
        follows = follows && (shape[at] == 1 || strides[at] == expected);
        expected *= shape[at];
    }
    return follows;
}

bool Array::aligned() const {
    return dtype && reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(size_of(*dtype)) == 0;
}

std::string Array::described() const {
    const std::string text =
        "a " + type_name(owner) + " array of shape " + std::string(py::str(py::tuple(owner.attr("shape"))));
    return device == on_cpu ? text : text + " on " + place_of(device);
}

void refuse(const char* op, const char* argument, const std::string& expected, const std::string& got) {
    throw py::value_error(std::string(op) + ": " + argument + " must be " + expected + ", got " + got);
}

void Arguments::check_device(const char* argument, int device) const {
    if (device != device_) {
        refuse(argument, "on " + place_of(device_), "memory of " + place_of(device));
    }
}

DType Arguments::dtype_of(const char* argument, const Array& array) const {
    if (!array.dtype) {
        throw py::type_error(std::string(op_) + ": " + argument +
                             " must be of a float16/32/64, bool or integer dtype in native byte order, got " +
                             array.described());
    }
    check_device(argument, array.device);
    return *array.dtype;
}

DenseView Arguments::samples(const char* argument, const Array& x) const {
    const DType dtype = dtype_of(argument, x);
    if (x.ndim != 2) {
        refuse(argument, "two-dimensional (n_samples, n_features)", x.described());
    }
    if (device_ != on_cpu && !x.aligned()) {
        refuse(argument, "aligned to its elements", x.described());
    }
    return {x.data, dtype, x.shape[0], x.shape[1], x.strides[0], x.strides[1]};
}

void* Arguments::elements(const char* argument, const Array& array, DType dtype, std::int64_t size) const {
    if (array.dtype != dtype || array.size() != size || !array.c_contiguous() || !array.aligned()) {
        refuse(argument,
               "a C-contiguous and aligned " + std::string(name_of(dtype)) + " array of " + std::to_string(size) +
                   " elements",
               array.described());
    }
    check_device(argument, array.device);
    return array.data;
}

void* Arguments::output(const char* argument, const Array& array, DType dtype, std::int64_t size) const {
    void* memory = elements(argument, array, dtype, size);
    if (!array.writeable) {
        refuse(argument, "a writeable array", "a read-only one");
    }
    return memory;
}

ImageGradient Arguments::image_gradient(const char* argument, const Array& gradient, std::int64_t n_samples,
                                        std::int64_t n_pixels) const {
    const DType dtype = dtype_of(argument, gradient);
    if (!is_float(dtype) || dtype == DType::f64) {
        refuse(argument, "float32, float16 or bfloat16", gradient.described());
    }
    return {elements(argument, gradient, dtype, product(n_samples, n_pixels)), dtype};
}

FeatureGradient Arguments::feature_gradient(const char* argument, const Array& gradient,
                                            std::int64_t n_features) const {
    const DType dtype = dtype_of(argument, gradient);
    if (!is_float(dtype) || gradient.ndim != 2) {
        refuse(argument, "floats (n_samples, n_features)", gradient.described());
    }
    const std::int64_t n = gradient.shape[0];
    return {elements(argument, gradient, dtype, product(n, n_features)), dtype, n, n_features};
}

FoldOutput Arguments::images(const char* argument, const Array& out, std::int64_t n_samples,
                             std::int64_t n_pixels) const {
    const DType dtype = dtype_of(argument, out);
    if (!is_float(dtype) || dtype == DType::f64) {
        refuse(argument, "float32, float16 or bfloat16", out.described());
    }
    return {output(argument, out, dtype, product(n_samples, n_pixels)), dtype};
}

PackedView Arguments::packed(const char* argument, const Array& bits, std::int64_t n_codes) const {
    const std::int64_t width = n_codes / 4 + (n_codes % 4 > 0 ? 1 : 0);
    const bool fits = bits.dtype == DType::u8 && bits.ndim == 2 && n_codes > 0 && bits.shape[1] == width &&
                      (bits.strides[1] == 1 || width == 1 || bits.shape[0] == 0);
    if (!fits) {
        refuse(argument, "a uint8 array of rows of " + std::to_string(width) + " contiguous bytes", bits.described());
    }
    check_device(argument, bits.device);
    return {static_cast<const std::uint8_t*>(bits.data), bits.shape[0], n_codes, bits.strides[0]};
}

CsrView csr_view(const Arguments& of, const Array& values, const Array& indices, const Array& row_start,
                 std::int64_t n_features) {
    const DType dtype = of.dtype_of("X.data", values);
    if (values.ndim != 1 || !values.c_contiguous() || !values.aligned()) {
        of.refuse("X.data", "one-dimensional, contiguous and aligned", values.described());
    }
    const bool wide = indices.dtype == DType::i64;
    const void* columns = of.elements("X.indices", indices, wide ? DType::i64 : DType::i32, values.size());
    const std::int64_t n_starts = row_start.size();
    const auto* starts = of.vector<std::int64_t>("X.indptr", row_start, n_starts);
    if (n_starts < 1 || n_features < 0) {
        of.refuse("X.indptr", "one number more than there are samples", row_start.described());
    }
    return {values.data, dtype, columns, wide, starts, n_starts - 1, n_features};
}

void translate_input_errors() {
    py::register_local_exception_translator([](std::exception_ptr thrown) {
        const auto raise = [](const std::exception& error) {
            py::set_error(py::module_::import("pixfold.errors").attr("InputError"), error.what());
        };
        try {
            std::rethrow_exception(thrown);
        } catch (const py::value_error& error) {
            raise(error);
        } catch (const std::invalid_argument& error) {
            raise(error);
        }
    });
}

}  // namespace pixfold::bindings
