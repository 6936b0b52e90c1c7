// Conversions to and from the sixteen-bit floats, through a plain fold: every pattern, and roundings beside ties.
#include <bit>
#include <cmath>
#include <functional>
#include <vector>

#include "checks.hpp"
#include "cpu/dispatch.hpp"
#include "numbers.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::tests {
namespace {

struct Format {
    DType dtype;
    int exponent_bits;
};
constexpr Format formats[] = {{DType::f16, half_exponent}, {DType::bf16, bfloat_exponent}};

// Converts n elements of one dtype to another by folding them, with every instruction set.
void convert(const void* in, DType from, std::int64_t n, void* out, DType to, const std::function<void()>& check) {
    std::vector<std::int32_t> slots(static_cast<std::size_t>(n));
    for (std::int64_t k = 0; k < n; ++k) {
        slots[static_cast<std::size_t>(k)] = static_cast<std::int32_t>(k);
    }
    const std::int64_t size = size_of(from);
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        context = isa + " " + name_of(from) + " to " + name_of(to);
        cpu::fold_dense({in, from, 1, n, n * size, size}, {slots.data(), slots.data(), n, n, true, true, true},
                        NormalizeParameters{}, {out, to}, 1);
        check();
    }
}

// Every pattern decodes to its value and encodes to itself; a NaN stays one, with its sign.
void all_patterns() {
    std::vector<std::uint16_t> bits(1 << 16);
    for (std::size_t k = 0; k < bits.size(); ++k) {
        bits[k] = static_cast<std::uint16_t>(k);
    }
    for (const Format& format : formats) {
        std::vector<float> values(bits.size());
        convert(bits.data(), format.dtype, 1 << 16, values.data(), DType::f32, [&] {
            for (std::size_t k = 0; k < bits.size(); ++k) {
                CHECK_NEAR(static_cast<double>(values[k]), decode16(bits[k], format.exponent_bits), 0.0);
                CHECK_EQUAL(std::signbit(values[k]), bits[k] >= 0x8000);
            }
        });
        std::vector<std::uint16_t> back(bits.size());
        const auto same = [&] {
            for (std::size_t k = 0; k < bits.size(); ++k) {
                if (std::isnan(decode16(bits[k], format.exponent_bits))) {
                    CHECK(std::isnan(decode16(back[k], format.exponent_bits)));
                    CHECK_EQUAL(back[k] & 0x8000, bits[k] & 0x8000);
                } else {
                    CHECK_EQUAL(back[k], bits[k]);
                }
            }
        };
        convert(values.data(), DType::f32, 1 << 16, back.data(), format.dtype, same);
        const std::vector<double> wide(values.begin(), values.end());
        convert(wide.data(), DType::f64, 1 << 16, back.data(), format.dtype, same);
        convert(bits.data(), format.dtype, 1 << 16, back.data(), format.dtype, same);
    }
}

// Checks the roundings of values of T to each format.
template <class T>
void check_roundings(const std::vector<T>& values, DType from, const Format& format) {
    std::vector<std::uint16_t> out(values.size());
    convert(values.data(), from, static_cast<std::int64_t>(values.size()), out.data(), format.dtype, [&] {
        for (std::size_t k = 0; k < values.size(); ++k) {
            const std::uint16_t expected = encode16(static_cast<double>(values[k]), format.exponent_bits);
            if (out[k] != expected) {
                fail(__FILE__, __LINE__, text(values[k]) + " became " + text(out[k]) + ", expected " + text(expected));
            }
        }
    });
}

// The tie between each pair of neighbours (past the largest: the one with infinity), and what lies just beside it. A
// double beside a tie by less than a float's place would become the tie in float, and then the wrong neighbour.
void beside_ties() {
    for (const Format& format : formats) {
        const int mantissa_bits = 15 - format.exponent_bits;
        const int n_finite = ((1 << format.exponent_bits) - 1) << mantissa_bits;
        std::vector<float> floats;
        std::vector<double> doubles;
        for (int bits = 0; bits < n_finite; ++bits) {
            const double low = decode16(static_cast<std::uint16_t>(bits), format.exponent_bits);
            const double below = bits > 0 ? decode16(static_cast<std::uint16_t>(bits - 1), format.exponent_bits) : 0.0;
            const double high = bits + 1 < n_finite
                                    ? decode16(static_cast<std::uint16_t>(bits + 1), format.exponent_bits)
                                    : low + (low - below);
            const double tie = 0.5 * (low + high);
            for (const double sign : {1.0, -1.0}) {
                for (const double relative : {0.0, 0x1p-52, -0x1p-53, 0x1p-30, -0x1p-30, 0x1p-25, -0x1p-25, 0x1p-24,
                                              -0x1p-24, 0x1p-12, -0x1p-12}) {
                    doubles.push_back(sign * tie * (1.0 + relative));
                }
                const auto f = static_cast<float>(sign * tie);  // exact but for the tie with bfloat's infinity
                floats.push_back(f);
                floats.push_back(std::nextafter(f, 0.0f));
                floats.push_back(std::nextafter(f, static_cast<float>(sign * high)));
            }
        }
        check_roundings(floats, DType::f32, format);
        check_roundings(doubles, DType::f64, format);
    }
}

void extremes() {
    for (const Format& format : formats) {
        std::vector<double> values;
        for (int exponent = -1074; exponent < 1024; ++exponent) {
            for (const double factor : {1.0, 1.0 + 0x1p-52, 1.5, 1.5 + 0x1p-52, 2.0 - 0x1p-52}) {
                values.push_back(std::ldexp(factor, exponent));
                values.push_back(-std::ldexp(factor, exponent));
            }
        }
        values.insert(values.end(), {0.0, -0.0, infinity, -infinity, 65519.999, 65520.0, 65535.0});
        check_roundings(values, DType::f64, format);
        std::vector<float> floats;
        for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 4093) {
            const float value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
            if (!std::isnan(value)) {
                floats.push_back(value);
            }
        }
        check_roundings(floats, DType::f32, format);
    }
}

// Half to bfloat and back go through float, which holds both: one rounding.
void between_halves() {
    std::vector<std::uint16_t> bits(1 << 16), out(1 << 16);
    for (std::size_t k = 0; k < bits.size(); ++k) {
        bits[k] = static_cast<std::uint16_t>(k);
    }
    for (int from = 0; from < 2; ++from) {
        const Format& input = formats[from];
        const Format& output = formats[1 - from];
        convert(bits.data(), input.dtype, 1 << 16, out.data(), output.dtype, [&] {
            for (std::size_t k = 0; k < bits.size(); ++k) {
                const double value = decode16(bits[k], input.exponent_bits);
                if (!std::isnan(value)) {
                    CHECK_EQUAL(out[k], encode16(value, output.exponent_bits));
                }
            }
        });
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"all_patterns", all_patterns},
                {"beside_ties", beside_ties},
                {"extremes", extremes},
                {"between_halves", between_halves}});
}
