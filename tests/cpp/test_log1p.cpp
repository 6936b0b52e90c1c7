// The kernels' float log1p, through a fold that does nothing else, against std::log1p in double.
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "checks.hpp"
#include "cpu/dispatch.hpp"
#include "numbers.hpp"
#include "pixfold/column_stats.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::tests {
namespace {

constexpr std::int64_t batch = 4096;

// Evaluates with every instruction set, and compares each value with the reference; AVX2 and AVX-512 share their bits.
class Evaluator {
  public:
    Evaluator() : isas_(available_isas()), zeros_(batch, 0.0f), ones_(batch, 1.0f) {
        for (std::int64_t k = 0; k < batch; ++k) {
            slots_.push_back(static_cast<std::int32_t>(k));
        }
    }
    ~Evaluator() { flush(); }
    Evaluator(const Evaluator&) = delete;
    Evaluator& operator=(const Evaluator&) = delete;

    void add(float x) {
        x_.push_back(x);
        if (static_cast<std::int64_t>(x_.size()) == batch) {
            flush();
        }
    }
    void report() {
        flush();
        std::printf("       at most %.3f ulp, at %.9g\n", worst_, static_cast<double>(worst_at_));
    }

  private:
    void flush() {
        const auto n = static_cast<std::int64_t>(x_.size());
        const DenseView view{x_.data(), DType::f32, 1, n, n * 4, 4};
        const SlotView slots{slots_.data(), slots_.data(), n, n, true, true, true};
        const NormalizeParameters parameters{true,         true,          false,     zeros_.data(), zeros_.data(),
                                             ones_.data(), zeros_.data(), -infinity, infinity,      nullptr};
        std::vector<float> avx2;
        for (const std::string& isa : isas_) {
            set_isa(isa);
            std::vector<float> y(x_.size());
            cpu::fold_dense(view, slots, parameters, {y.data(), DType::f32}, 1);
            context = isa;
            if (isa == "avx512" && n > 0) {
                CHECK(std::memcmp(y.data(), avx2.data(), y.size() * sizeof(float)) == 0);
            } else {
                for (std::size_t k = 0; k < x_.size(); ++k) {
                    check(x_[k], y[k]);
                }
            }
            if (isa == "avx2") {
                avx2 = y;
            }
        }
        x_.clear();
    }

    void check(float x, float y) {
        const double expected = std::log1p(static_cast<double>(x));
        if (!std::isfinite(expected)) {
            CHECK_NEAR(static_cast<double>(y), expected, 0.0);
            return;
        }
        // The last place of the nearest float, by its exponent; subnormals share one.
        const std::uint32_t bits = std::bit_cast<std::uint32_t>(static_cast<float>(expected)) & 0x7f800000u;
        const double ulp = bits > 0x01000000u ? static_cast<double>(std::bit_cast<float>(bits)) * 0x1p-23 : 0x1p-149;
        const double error = std::fabs(static_cast<double>(y) - expected);
        if (error > worst_ * ulp) {
            worst_ = error / ulp;
            worst_at_ = x;
        }
        if (!(error <= 2.0 * ulp)) {
            fail(__FILE__, __LINE__, "log1p(" + text(x) + ") is " + text(y) + ", expected " + text(expected));
        }
    }

    std::vector<std::string> isas_;
    std::vector<float> zeros_, ones_, x_;
    std::vector<std::int32_t> slots_;
    double worst_ = 0.0;
    float worst_at_ = 0.0f;
};

// Every `step`-th float of [first, last] by bit pattern; a prime step meets every pattern of the low bits.
void sweep(std::uint32_t first, std::uint32_t last, std::uint32_t step) {
    Evaluator evaluate;
    for (std::uint64_t bits = first; bits <= last; bits += step) {
        evaluate.add(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    }
    evaluate.report();
}

constexpr std::uint32_t largest = 0x7f7fffffu;
constexpr std::uint32_t minus = 0x80000000u;

void positive() { sweep(0, largest, 113); }
void negative() { sweep(minus, minus | 0x3f7fffffu, 113); }
void subnormal() { sweep(0, 0x00ffffffu, 61); }

// Beside powers of two and where 1 + x changes its binade or the range of the polynomial: 2^k - 1 and sqrt(2) 2^k - 1.
void edges() {
    Evaluator evaluate;
    const auto around = [&](float x) {
        evaluate.add(x);
        evaluate.add(std::nextafter(x, -1.0f));
        evaluate.add(std::nextafter(x, std::numeric_limits<float>::max()));
    };
    for (int exponent = -149; exponent < 128; ++exponent) {
        const double power = std::ldexp(1.0, exponent);
        for (const double factor : {1.0, std::sqrt(0.5), std::sqrt(2.0)}) {
            around(static_cast<float>(factor * power));
            if (exponent < 0) {
                around(static_cast<float>(-factor * power));
            }
            if (exponent > -30) {
                around(static_cast<float>(factor * power - 1.0));
            }
        }
    }
    for (std::uint32_t bits = 0; bits < 5000; ++bits) {  // the smallest of both signs
        evaluate.add(std::bit_cast<float>(bits));
        evaluate.add(std::bit_cast<float>(bits | minus));
        evaluate.add(std::bit_cast<float>(largest - bits));
        evaluate.add(std::bit_cast<float>((minus | 0x3f800000u) - bits));  // -1 upwards
    }
    evaluate.report();
}

void specials() {
    const float infinite = std::numeric_limits<float>::infinity();
    const std::vector<float> x = {0.0f,      -0.0f, infinite, -1.0f, std::nextafter(-1.0f, -2.0f),
                                  -infinite, -2.0f, -3e38f,   0.0f,  0x1p-149f};
    const std::vector<double> expected = {0.0, 0.0, infinity, -infinity, nan, nan, nan, nan, 0.0, 0x1p-149};
    const std::vector<float> zeros(x.size(), 0.0f);
    const std::vector<float> ones(x.size(), 1.0f);
    const std::vector<float> fill(x.size(), 7.0f);
    std::vector<std::int32_t> slots(x.size());
    for (std::size_t k = 0; k < x.size(); ++k) {
        slots[k] = static_cast<std::int32_t>(k);
    }
    const auto n = static_cast<std::int64_t>(x.size());
    const NormalizeParameters parameters{true,        true,        false,     zeros.data(), zeros.data(),
                                         ones.data(), fill.data(), -infinity, infinity,     nullptr};
    // Ten values: more than a vector of eight, less than one of sixteen, so that remainders are seen too.
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        context = isa;
        std::vector<float> y(x.size());
        cpu::fold_dense({x.data(), DType::f32, 1, n, n * 4, 4}, {slots.data(), slots.data(), n, n, true, true, true},
                        parameters, {y.data(), DType::f32}, 1);
        for (std::size_t k = 0; k < x.size(); ++k) {
            CHECK_NEAR(static_cast<double>(y[k]), expected[k], 0.0);
        }
    }
}

// Doubles, as the statistics of a single sample, against std::log1p in long double.
void doubles() {
    std::vector<double> x = {0.0, -0.0, 0x1p-1074, 0x1p-1022, 0x1p-60, 1.0, 0x1.fffffffffffffp1023, 0x1p1000};
    for (int exponent = -1070; exponent < 1024; ++exponent) {
        for (const double factor : {1.0, 1.2, 1.4142135623730951, 1.9999999999999998}) {
            x.push_back(factor * std::ldexp(1.0, exponent));
            if (exponent < -1) {
                x.push_back(-factor * std::ldexp(1.0, exponent));
            }
            if (exponent > -50 && exponent < 50) {
                x.push_back(factor * std::ldexp(1.0, exponent) - 1.0);
            }
        }
    }
    const auto n = static_cast<std::int64_t>(x.size());
    std::vector<std::int64_t> counts(3 * x.size());
    std::vector<double> min(x.size()), max(x.size()), mean(x.size()), m2(x.size());
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        context = isa;
        cpu::column_stats_dense(
            {x.data(), DType::f64, 1, n, n * 8, 8}, {true, false, nullptr, nullptr},
            {counts.data(), counts.data() + n, counts.data() + 2 * n, min.data(), max.data(), mean.data(), m2.data()},
            1);
        double worst = 0.0;
        for (std::size_t k = 0; k < x.size(); ++k) {
            const long double expected = std::log1p(static_cast<long double>(x[k]));
            const double nearest = std::fabs(static_cast<double>(expected));
            const double ulp = std::fmax(std::nextafter(nearest, infinity) - nearest, 0x1p-1074);
            const auto error = static_cast<double>(std::fabs(static_cast<long double>(mean[k]) - expected));
            worst = std::fmax(worst, error / ulp);
            if (!(error <= 2.0 * ulp)) {
                fail(__FILE__, __LINE__, "log1p(" + text(x[k]) + ") is " + text(mean[k]));
            }
        }
        std::printf("       at most %.3f ulp\n", worst);
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"positive", positive},
                {"negative", negative},
                {"subnormal", subnormal},
                {"edges", edges},
                {"specials", specials},
                {"doubles", doubles}});
}
