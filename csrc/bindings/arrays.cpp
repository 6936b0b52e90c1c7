#include "arrays.hpp"

namespace pixfold::bindings {

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
    const bool native = dtype.byteorder() == '=' || dtype.byteorder() == '|';
    if (native) {
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

namespace {

template <class I>
void check_rows(const char* op, const I* indices, const CsrView& x) {
    for (std::int64_t i = 0; i < x.n_samples; ++i) {
        std::int64_t previous = -1;
        for (std::int64_t e = x.row_start[i]; e < x.row_start[i + 1]; ++e) {
            const std::int64_t j = static_cast<std::int64_t>(indices[e]);
            if (j <= previous || j >= x.n_features) {
                refuse(op, "X.indices", "increasing within a row and in [0, " + std::to_string(x.n_features) + ")",
                       std::to_string(j) + " after " + std::to_string(previous) + " in row " + std::to_string(i));
            }
            previous = j;
        }
    }
}

}  // namespace

CsrView csr_view(const char* op, const py::array& values, const py::array& indices, const py::array& row_start,
                 std::int64_t n_features, bool bfloat16) {
    const DType dtype = dtype_of(op, "X.data", values, bfloat16);
    const std::int64_t nnz = values.size();
    if (values.ndim() != 1 || (values.flags() & py::array::c_style) == 0) {
        refuse(op, "X.data", "one-dimensional and contiguous", describe(values));
    }
    const bool wide = py::isinstance<py::array_t<std::int64_t>>(indices);
    const void* index_data = wide ? static_cast<const void*>(vector_of<std::int64_t>(op, "X.indices", indices, nnz))
                                  : vector_of<std::int32_t>(op, "X.indices", indices, nnz);
    const std::int64_t* starts = vector_of<std::int64_t>(op, "X.indptr", row_start, row_start.size());
    const std::int64_t n_samples = row_start.size() - 1;
    if (n_samples < 0 || starts[0] != 0 || starts[n_samples] > nnz) {
        refuse(op, "X.indptr", "an array from 0 to at most " + std::to_string(nnz), describe(row_start));
    }
    for (std::int64_t i = 0; i < n_samples; ++i) {
        if (starts[i + 1] < starts[i]) {
            refuse(op, "X.indptr", "non-decreasing", "a fall after row " + std::to_string(i));
        }
    }
    const CsrView view{values.data(), dtype, index_data, wide, starts, n_samples, n_features};
    if (wide) {
        check_rows(op, static_cast<const std::int64_t*>(index_data), view);
    } else {
        check_rows(op, static_cast<const std::int32_t*>(index_data), view);
    }
    return view;
}

SlotView slot_view(const char* op, const py::array& feature, const py::array& pixel, std::int64_t n_features,
                   std::int64_t n_pixels) {
    const std::int64_t n = feature.size();
    const std::int64_t* features = vector_of<std::int64_t>(op, "slot_feature", feature, n);
    const std::int64_t* pixels = vector_of<std::int64_t>(op, "slot_pixel", pixel, n);
    SlotView view{features, pixels, n, n_pixels, true, true, true};
    for (std::int64_t k = 0; k < n; ++k) {
        if (features[k] < 0 || features[k] >= n_features || pixels[k] < 0 || pixels[k] >= n_pixels ||
            (k > 0 && pixels[k] < pixels[k - 1])) {
            refuse(op, "layout",
                   "features in [0, " + std::to_string(n_features) + ") sorted by pixels in [0, " +
                       std::to_string(n_pixels) + ")",
                   "feature " + std::to_string(features[k]) + " at pixel " + std::to_string(pixels[k]));
        }
        view.identity_features = view.identity_features && features[k] == k;
        view.identity_pixels = view.identity_pixels && pixels[k] == k;
        view.one_to_one = view.one_to_one && (k == 0 || pixels[k] != pixels[k - 1]);
    }
    return view;
}

}  // namespace pixfold::bindings
