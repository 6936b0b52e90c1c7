// fold as a literal loop, and how far a kernel may be from it.
#pragma once

#include <cfloat>
#include <initializer_list>
#include <vector>

#include "layouts.hpp"
#include "matrices.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::tests {

// A normaliser with its arrays in slot order. The numbers are floats, so both precisions hold the same ones.
struct Normaliser {
    bool log = true;
    bool clip_below_zero = false;
    double lo = -2.5;
    double hi = 3.5;
    std::vector<float> offset, shift, scale, fill;
    std::vector<double> offset64, shift64, scale64, fill64;
    std::vector<double> row_scale;  // empty: none

    Normaliser(std::int64_t n_slots, std::uint64_t seed) {
        std::mt19937_64 random(seed);
        for (std::int64_t k = 0; k < n_slots; ++k) {
            const std::uint64_t bits = random();
            offset.push_back(bits % 4 == 0 ? 0.0f : static_cast<float>(bits % 1021) / 128.0f);
            shift.push_back(static_cast<float>((bits >> 16) % 4093) / 2048.0f);
            scale.push_back((bits >> 32) % 8 == 0 ? 0.0f : static_cast<float>((bits >> 32) % 1021) / 300.0f);
            fill.push_back(static_cast<float>((bits >> 48) % 64) / 16.0f);
        }
        widen();
    }

    void set_offset(float value) {
        offset.assign(offset.size(), value);
        widen();
    }

    void set_row_scale(std::int64_t n_samples) {
        row_scale.clear();
        for (std::int64_t i = 0; i < n_samples; ++i) {
            row_scale.push_back(i % 5 == 4 ? 0.0 : 0.3 + 0.7 * static_cast<double>(i));
        }
        row_scale.shrink_to_fit();
    }

    NormalizeParameters parameters(DType input) const {
        const bool wide = computes_in_double(input);
        const auto pick = [wide](const std::vector<float>& narrow, const std::vector<double>& doubles) {
            return wide ? static_cast<const void*>(doubles.data()) : narrow.data();
        };
        return {true,
                log,
                clip_below_zero,
                pick(offset, offset64),
                pick(shift, shift64),
                pick(scale, scale64),
                pick(fill, fill64),
                lo,
                hi,
                row_scale.empty() ? nullptr : row_scale.data()};
    }

  private:
    void widen() {
        for (std::vector<float>* each : {&offset, &shift, &scale, &fill}) {
            each->shrink_to_fit();
        }
        offset64.assign(offset.begin(), offset.end());
        shift64.assign(shift.begin(), shift.end());
        scale64.assign(scale.begin(), scale.end());
        fill64.assign(fill.begin(), fill.end());
    }
};

// A value and a bound on the error of the kernel's.
struct Bounded {
    double value = 0.0;
    double error = 0.0;
};

// The kernel rounds every operation of the formula once, in the compute precision with unit roundoff u, and takes
// log1p to 2 ulp = 4 u. An operation with the result r adds at most u |r| to an error that passes addition and
// clipping as it is, multiplication times the factor and log1p times its derivative. The reference is long double;
// where that is no more than double, its own roundings are as large again (`own`). Products of errors stay below
// 1e-4 of the sum.
inline Bounded normalise_bounded(const Matrix& x, std::int64_t i, std::int64_t j, std::int64_t slot,
                                 const Normaliser* normaliser) {
    const double element = x.at(i, j);
    if (normaliser == nullptr) {
        return {element, 0.0};
    }
    const auto k = static_cast<std::size_t>(slot);
    const Normaliser& p = *normaliser;
    if (std::isnan(element)) {
        return {static_cast<double>(p.fill[k]), 0.0};
    }
    const Precision precision = compute_precision(x.dtype);
    const double u = precision.roundoff;
    constexpr double own = LDBL_MANT_DIG > DBL_MANT_DIG ? 1.0 : 2.0;
    const double factor = p.row_scale.empty() ? 1.0 : p.row_scale[static_cast<std::size_t>(i)];
    const long double lifted = static_cast<long double>(element) + static_cast<long double>(p.offset[k]);
    long double argument = lifted * static_cast<long double>(factor);
    double error = u * static_cast<double>(std::fabs(lifted)) * std::fabs(factor);
    if (factor != 1.0) {
        error +=
            2.0 * u * static_cast<double>(std::fabs(argument)) + precision.tiny;  // the rounded factor, the product
    }
    if (p.clip_below_zero && argument < 0.0L) {
        argument = 0.0L;
    }
    long double g = argument;
    if (p.log) {
        g = std::log1p(argument);
        // The slope is largest where the argument may be smallest; tests keep it above -1/2.
        error = error / (1.0 + std::fmax(static_cast<double>(argument) - error, -0.5)) +
                4.0 * u * static_cast<double>(std::fabs(g)) + precision.tiny;
    }
    if (p.scale[k] == 0.0f) {
        return {std::fmin(std::fmax(0.0, p.lo), p.hi), 0.0};
    }
    const long double centred = g - static_cast<long double>(p.shift[k]);
    const long double y = centred * static_cast<long double>(p.scale[k]);
    error += u * static_cast<double>(std::fabs(centred));
    error = error * std::fabs(static_cast<double>(p.scale[k])) + u * static_cast<double>(std::fabs(y)) + precision.tiny;
    return {std::fmin(std::fmax(static_cast<double>(y), p.lo), p.hi), 1.0001 * own * error};
}

struct Folded {
    std::vector<Bounded> pixels;  // (n_samples, n_pixels)
    FoldCounts counts;
};

inline Folded fold_reference(const Matrix& x, const SlotView& slots, const Normaliser* normaliser) {
    Folded result;
    result.pixels.resize(static_cast<std::size_t>(x.n_samples * slots.n_pixels));
    for (std::int64_t i = 0; i < x.n_samples; ++i) {
        Bounded* image = result.pixels.data() + i * slots.n_pixels;
        for (std::int64_t k = 0; k < slots.n_slots;) {
            const std::int64_t pixel = slots.pixel[k];
            long double sum = 0.0L;
            double size = 0.0;
            double error = 0.0;
            std::int64_t n = 0;
            for (; k < slots.n_slots && slots.pixel[k] == pixel; ++k, ++n) {
                const std::int64_t j = slots.feature[k];
                const Bounded y = normalise_bounded(x, i, j, k, normaliser);
                sum += static_cast<long double>(y.value);
                size += std::fabs(y.value) + y.error;
                error += y.error;
                if (normaliser != nullptr) {
                    result.counts.missing += std::isnan(x.at(i, j)) ? 1 : 0;
                    result.counts.negative +=
                        x.at(i, j) + static_cast<double>(normaliser->offset[static_cast<std::size_t>(k)]) < 0.0 ? 1 : 0;
                }
            }
            // A mean of n: n - 1 additions and a division in double, of partial sums of at most `size`.
            const double count = static_cast<double>(n);
            const double mean_error = n > 1 ? (count + 1.0) * 0x1p-53 * size : 0.0;
            image[pixel] = {static_cast<double>(sum / static_cast<long double>(n)), (error + mean_error) / count};
        }
    }
    return result;
}

// Calls f(step, x, layout, normaliser) for every kind of layout of so many features, and for a few samples. `step`
// counts the calls: choices that take it modulo numbers without a common factor meet in all combinations.
template <class F>
void each_size(std::initializer_list<std::int64_t> n_features, F&& f) {
    int step = 0;
    for (const std::int64_t n : n_features) {
        for (const std::int64_t n_samples : {0, 1, 2, 3, 17}) {
            if (n > 2000 && n_samples > 3) {
                continue;
            }
            for (int kind = 0; kind < n_kinds; ++kind, ++step) {
                const DType dtype = all_dtypes[(step * 5) % n_dtypes];
                const Matrix x = make_matrix(dtype, n_samples, n, static_cast<std::uint64_t>(step), true);
                const Layout layout(static_cast<Kind>(kind), n);
                Normaliser normaliser(layout.n_slots(), 3);
                normaliser.log = step % 4 != 0;
                if (step % 2 == 0) {
                    normaliser.set_row_scale(n_samples);
                }
                f(step, x, layout, normaliser);
            }
        }
    }
}

}  // namespace pixfold::tests
