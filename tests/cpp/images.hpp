// An output buffer of exactly its size, filled with NaN so that a pixel nobody wrote shows.
#pragma once

#include <cstring>
#include <vector>

#include "checks.hpp"
#include "fold_reference.hpp"

namespace pixfold::tests {

class Images {
  public:
    Images(DType dtype, std::int64_t n)
        : dtype_(dtype), n_(n), bytes_(static_cast<std::size_t>(n * size_of(dtype)), '\xff') {}

    FoldOutput output() { return {bytes_.data(), dtype_}; }
    double at(std::int64_t i) const { return read_element(dtype_, bytes_.data() + i * size_of(dtype_)); }
    std::int64_t size() const { return n_; }
    bool operator==(const Images& other) const { return bytes_ == other.bytes_; }  // bits, NaN included

  private:
    DType dtype_;
    std::int64_t n_;
    std::vector<char> bytes_;
};

inline double rounded(DType dtype, double x) {
    char element[8];
    write_element(dtype, x, element);
    return read_element(dtype, element);
}

// Rounding is monotone: what the kernel stored lies between the roundings of the ends of the interval that its value,
// before the output was rounded, is known to be in. Without an error these are one number.
inline void check_images(const Images& images, DType out, const Folded& expected) {
    CHECK_EQUAL(images.size(), static_cast<std::int64_t>(expected.pixels.size()));
    for (std::int64_t p = 0; p < images.size(); ++p) {
        const Bounded& pixel = expected.pixels[static_cast<std::size_t>(p)];
        const double image = images.at(p);
        const bool inside =
            rounded(out, pixel.value - pixel.error) <= image && image <= rounded(out, pixel.value + pixel.error);
        if (!inside && !(std::isnan(image) && std::isnan(pixel.value))) {
            fail(__FILE__, __LINE__,
                 "pixel " + text(p) + " is " + text(image) + ", expected " + text(pixel.value) + " within " +
                     text(pixel.error) + " before rounding");
        }
    }
}

}  // namespace pixfold::tests
