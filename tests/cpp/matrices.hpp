// Test matrices: values as doubles, and the same values stored dense or as compressed sparse rows in buffers of
// exactly the size that they address, so that AddressSanitizer sees any access outside.
#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "numbers.hpp"

namespace pixfold::tests {

struct Matrix {
    DType dtype;
    std::int64_t n_samples;
    std::int64_t n_features;
    std::vector<double> values;  // row-major, each one an element of dtype

    double at(std::int64_t i, std::int64_t j) const { return values[static_cast<std::size_t>(i * n_features + j)]; }
};

// Zeros (about a third), NaN where the dtype has it and `missing` asks, negative numbers where `negative` asks.
inline Matrix make_matrix(DType dtype, std::int64_t n_samples, std::int64_t n_features, std::uint64_t seed,
                          bool missing = false, bool negative = false) {
    std::mt19937_64 random(seed);
    Matrix x{dtype, n_samples, n_features, std::vector<double>(static_cast<std::size_t>(n_samples * n_features))};
    char element[8];
    for (double& value : x.values) {
        const std::uint64_t bits = random();
        const std::uint64_t kind = bits >> 56;
        if (kind < 85) {
            value = 0.0;
        } else if (missing && is_floating(dtype) && kind < 95) {
            value = nan;
        } else {
            switch (dtype) {
                case DType::b8:
                    value = 1.0;
                    break;
                case DType::i8:
                    value = static_cast<double>(bits % 128);
                    break;
                case DType::u8:
                    value = static_cast<double>(bits % 256);
                    break;
                case DType::i16:
                    value = static_cast<double>(bits % (1u << 15));
                    break;
                case DType::u16:
                    value = static_cast<double>(bits % (1u << 16));
                    break;
                case DType::i32:
                    value = static_cast<double>(bits % (1u << 31));
                    break;
                case DType::u32:
                    value = static_cast<double>(bits % (std::uint64_t{1} << 32));
                    break;
                case DType::i64:
                case DType::u64:
                    value = static_cast<double>(bits % (std::uint64_t{1} << 53));
                    break;
                default:
                    value = std::ldexp(static_cast<double>(bits % (1u << 26)), -21);
                    break;  // [0, 32)
            }
            const bool is_signed = is_floating(dtype) || dtype == DType::i8 || dtype == DType::i16 ||
                                   dtype == DType::i32 || dtype == DType::i64;
            if (negative && is_signed && kind % 4 == 0) {
                value = -value;
            }
            write_element(dtype, value, element);
            value = read_element(dtype, element);
        }
    }
    return x;
}

// Some samples of a matrix, in the order asked for.
inline Matrix picked(const Matrix& x, const std::vector<std::int64_t>& samples) {
    Matrix some{x.dtype, static_cast<std::int64_t>(samples.size()), x.n_features, {}};
    for (const std::int64_t i : samples) {
        const auto first = x.values.begin() + i * x.n_features;
        some.values.insert(some.values.end(), first, first + x.n_features);
    }
    return some;
}

// Pickings of n samples: none, any order with some of them twice, all in order, all but the first few.
inline std::vector<std::vector<std::int64_t>> pickings(std::int64_t n) {
    std::vector<std::vector<std::int64_t>> all(4);
    std::mt19937_64 random(static_cast<std::uint64_t>(n));
    for (std::int64_t i = 0; i < n; ++i) {
        all[1].push_back(static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n)));
        all[2].push_back(i);
        if (i > n / 3) {
            all[3].push_back(i);
        }
    }
    return all;
}

enum class Storage { packed, padded, fortran, rows_reversed, columns_reversed, every_third, unaligned };
inline constexpr int n_storages = 7;

class Dense {
  public:
    Dense(const Matrix& x, Storage storage) {
        const std::int64_t size = size_of(x.dtype);
        std::int64_t feature_stride = size;
        std::int64_t sample_stride = x.n_features * size;
        switch (storage) {
            case Storage::packed:
                break;
            case Storage::padded:
                sample_stride += 5 * size;
                break;
            case Storage::fortran:
                sample_stride = size;
                feature_stride = x.n_samples * size;
                break;
            case Storage::rows_reversed:
                sample_stride = -sample_stride;
                break;
            case Storage::columns_reversed:
                feature_stride = -size;
                break;
            case Storage::every_third:
                feature_stride = 3 * size;
                sample_stride *= 3;
                break;
            case Storage::unaligned:
                sample_stride += 1;
                break;  // a field of a packed record
        }
        const bool empty = x.n_samples == 0 || x.n_features == 0;
        const std::int64_t across = empty ? 0 : (x.n_samples - 1) * sample_stride;
        const std::int64_t along = empty ? 0 : (x.n_features - 1) * feature_stride;
        const std::int64_t first = -std::min<std::int64_t>(across, 0) - std::min<std::int64_t>(along, 0);
        const std::int64_t last = std::max<std::int64_t>(across, 0) + std::max<std::int64_t>(along, 0);
        bytes_.resize(static_cast<std::size_t>(empty ? 0 : first + last + size));
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            for (std::int64_t j = 0; j < x.n_features; ++j) {
                write_element(x.dtype, x.at(i, j), bytes_.data() + first + i * sample_stride + j * feature_stride);
            }
        }
        view_ = {bytes_.data() + first, x.dtype, x.n_samples, x.n_features, sample_stride, feature_stride};
    }
    const DenseView& view() const { return view_; }
    const std::vector<char>& memory() const { return bytes_; }

  private:
    std::vector<char> bytes_;
    DenseView view_;
};

class Csr {
  public:
    // Stores every value but the zeros; of those one in `explicit_zeros` (0: none).
    Csr(const Matrix& x, bool wide, std::int64_t explicit_zeros = 7) {
        std::int64_t n = 0;
        row_start_.push_back(0);
        for (std::int64_t i = 0; i < x.n_samples; ++i) {
            for (std::int64_t j = 0; j < x.n_features; ++j) {
                const bool kept = explicit_zeros > 0 && (i + j) % explicit_zeros == 0;
                if (x.at(i, j) != 0.0 || kept) {
                    values_.resize(static_cast<std::size_t>((n + 1) * size_of(x.dtype)));
                    write_element(x.dtype, x.at(i, j), values_.data() + n * size_of(x.dtype));
                    indices32_.push_back(static_cast<std::int32_t>(j));
                    indices64_.push_back(j);
                    ++n;
                }
            }
            row_start_.push_back(n);
        }
        values_.shrink_to_fit();
        indices32_.shrink_to_fit();
        indices64_.shrink_to_fit();
        row_start_.shrink_to_fit();
        const void* indices = wide ? static_cast<const void*>(indices64_.data()) : indices32_.data();
        view_ = {values_.data(), x.dtype, indices, wide, row_start_.data(), x.n_samples, x.n_features};
    }
    const CsrView& view() const { return view_; }
    std::int64_t n_stored() const { return row_start_.back(); }

  private:
    std::vector<char> values_;
    std::vector<std::int32_t> indices32_;
    std::vector<std::int64_t> indices64_;
    std::vector<std::int64_t> row_start_;
    CsrView view_;
};

}  // namespace pixfold::tests
