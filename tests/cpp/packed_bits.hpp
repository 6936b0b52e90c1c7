// Packed genotypes of random codes.
#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "pixfold/packed.hpp"

namespace pixfold::tests {

// Rows of random codes; what lies between rows and in the bits of no feature is random too.
class Bits {
  public:
    Bits(std::int64_t n_samples, std::int64_t n_features, std::int64_t gap, bool reversed, std::uint64_t seed) {
        const std::int64_t row = (n_features + 3) / 4;
        std::mt19937_64 random(seed);
        bytes_.resize(static_cast<std::size_t>(n_samples == 0 ? 0 : (n_samples - 1) * (row + gap) + row));
        std::generate(bytes_.begin(), bytes_.end(), [&] { return static_cast<std::uint8_t>(random()); });
        const std::int64_t stride = reversed ? -(row + gap) : row + gap;
        const std::int64_t first = reversed && n_samples > 0 ? (n_samples - 1) * (row + gap) : 0;
        view_ = {bytes_.data() + first, n_samples, n_features, stride};
    }
    const PackedView& view() const { return view_; }
    const std::vector<std::uint8_t>& memory() const { return bytes_; }
    int code(std::int64_t i, std::int64_t j) const {
        return view_.bits[i * view_.sample_stride + j / 4] >> (2 * (j % 4)) & 3;
    }

  private:
    std::vector<std::uint8_t> bytes_;
    PackedView view_;
};

}  // namespace pixfold::tests
