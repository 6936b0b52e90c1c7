// Importances that are hard to rank, for any op that does it: `check_rank` is called with each; the longest have
// `many` values.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "numbers.hpp"

namespace pixfold::tests::importances {

using CheckRank = std::function<void(const std::vector<double>&)>;

inline void small(const CheckRank& check_rank, std::size_t) {
    check_rank({});
    check_rank({3.0});
    check_rank({0.0, -0.0, 0.0, -0.0, 1.0, -1.0});  // one tie of four
    check_rank(
        {infinity, -infinity, 0.0, infinity, -infinity, DBL_MAX, -DBL_MAX, DBL_TRUE_MIN, -DBL_TRUE_MIN, DBL_MIN});
    for (const std::size_t n : {1, 2, 1000, 5000}) {
        check_rank(std::vector<double>(n, 0.25));
        check_rank(std::vector<double>(n, -0.0));
    }
}

// Around the smallest input that is counted instead of compared, and where parts of seven threads are empty.
inline void sizes(const CheckRank& check_rank, std::size_t) {
    std::mt19937_64 random(3);
    for (const std::size_t n : {3, 6, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 2049}) {
        std::vector<double> values(n), tied(n);
        for (std::size_t i = 0; i < n; ++i) {
            values[i] = std::ldexp(static_cast<double>(random()), -64) - 0.5;
            tied[i] = static_cast<double>(random() % 5) - 2.0;
        }
        check_rank(values);
        check_rank(tied);
    }
}

// Numbers of every magnitude and sign, by their bits.
inline void any_bits(const CheckRank& check_rank, std::size_t many) {
    std::mt19937_64 random(1);
    for (const std::size_t n : {std::size_t{2}, std::size_t{1000}, many}) {
        std::vector<double> values;
        while (values.size() < n) {
            const std::uint64_t bits = random();
            double value;
            std::memcpy(&value, &bits, sizeof(value));
            if (!std::isnan(value)) {
                values.push_back(value);
            }
        }
        check_rank(values);
        std::sort(values.begin(), values.end());
        check_rank(values);
        std::reverse(values.begin(), values.end());
        check_rank(values);
    }
}

inline void ties(const CheckRank& check_rank, std::size_t many) {
    std::mt19937_64 random(2);
    for (const std::uint64_t distinct : {1, 2, 10, 1000}) {
        std::vector<double> values(many);
        for (double& value : values) {
            value = (static_cast<double>(random() % distinct) - static_cast<double>(distinct / 2)) / 3.0;
        }
        check_rank(values);
    }
}

// One value far away makes all others equal in the bits that are sorted first: runs of several lengths that differ in
// the other bits only, below and above the length where they are counted instead of compared, across the parts.
inline void low_bits(const CheckRank& check_rank, std::size_t many) {
    std::mt19937_64 random(4);
    for (const std::size_t n : {std::size_t{50}, std::size_t{3000}, many}) {
        for (const double far : {0.0, -1e300}) {
            for (const std::uint64_t distinct : {std::uint64_t{2}, std::uint64_t{1000}, std::uint64_t{1} << 31}) {
                std::vector<double> values;
                for (std::size_t i = 0; i < n; ++i) {
                    const double sign = far != 0.0 && i % 3 == 0 ? -1.0 : 1.0;
                    values.push_back(sign * (1.0 + 0x1p-52 * static_cast<double>(random() % distinct)));
                }
                values[n / 3] = far;
                values.back() = DBL_TRUE_MIN;
                check_rank(values);
            }
        }
    }
    std::vector<double> subnormal(3000);
    for (double& value : subnormal) {
        value = DBL_TRUE_MIN * (static_cast<double>(random() % 4096) - 2048.0);
    }
    check_rank(subnormal);
    subnormal[5] = std::numeric_limits<double>::infinity();
    check_rank(subnormal);
}

// float32 numbers, whose last 29 bits are zeros whatever the sign: nothing is left to sort by after the first bits.
inline void narrow(const CheckRank& check_rank, std::size_t) {
    std::mt19937_64 random(5);
    std::normal_distribution<double> normal;
    std::vector<double> values(20000);
    for (double& value : values) {
        value = static_cast<double>(static_cast<float>(normal(random)));
    }
    check_rank(values);
    for (double& value : values) {
        value = std::fabs(value) + 1.0;
    }
    check_rank(values);
}

// Values that differ in one bit only: it is the only one that is sorted by.
inline void single_digits(const CheckRank& check_rank, std::size_t) {
    for (int bit = 0; bit < 62; ++bit) {
        std::vector<double> values(64);
        for (std::size_t i = 0; i < values.size(); ++i) {
            const std::uint64_t bits = 0x3ff0000000000000u ^ (static_cast<std::uint64_t>((i * 29) % 2) << bit);
            std::memcpy(&values[i], &bits, sizeof(bits));
        }
        if (std::none_of(values.begin(), values.end(), [](double value) { return std::isnan(value); })) {
            check_rank(values);
        }
    }
}

}  // namespace pixfold::tests::importances
