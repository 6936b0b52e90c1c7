#include "slots.hpp"

#include <limits>

namespace pixfold::bindings {

Slots::Slots(const Array& feature, const Array& pixel, std::int64_t n_features, std::int64_t n_pixels) {
    const Arguments of("layout");
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
    const std::int64_t n = feature.size();
    const std::int64_t* features = of.vector<std::int64_t>("slot_feature", feature, n);
    const std::int64_t* pixels = of.vector<std::int64_t>("slot_pixel", pixel, n);
    if (n_features < 0 || n_pixels < 0 || n_features > most || n_pixels > most) {
        of.refuse("n_features and n_pixels", "in [0, " + std::to_string(most) + "]",
                  std::to_string(n_features) + " and " + std::to_string(n_pixels));
    }
    feature_.resize(static_cast<std::size_t>(n));
    pixel_.resize(static_cast<std::size_t>(n));
    slot_of_feature_.assign(static_cast<std::size_t>(n_features), -1);
    pixel_of_feature_.assign(static_cast<std::size_t>(n_features), -1);
    view_ = {feature_.data(), pixel_.data(), n, n_pixels, true, true, true};
    for (std::int64_t k = 0; k < n; ++k) {
        const std::int64_t j = features[k];
        const std::int64_t p = pixels[k];
        if (j < 0 || j >= n_features || p < 0 || p >= n_pixels || (k > 0 && p < pixels[k - 1]) ||
            slot_of_feature_[static_cast<std::size_t>(j)] >= 0) {
            of.refuse("slots",
                      "different features in [0, " + std::to_string(n_features) + ") sorted by pixels in [0, " +
                          std::to_string(n_pixels) + ")",
                      "feature " + std::to_string(j) + " at pixel " + std::to_string(p));
        }
        feature_[static_cast<std::size_t>(k)] = static_cast<std::int32_t>(j);
        pixel_[static_cast<std::size_t>(k)] = static_cast<std::int32_t>(p);
        slot_of_feature_[static_cast<std::size_t>(j)] = static_cast<std::int32_t>(k);
        pixel_of_feature_[static_cast<std::size_t>(j)] = static_cast<std::int32_t>(p);
        view_.identity_features = view_.identity_features && j == k;
        view_.identity_pixels = view_.identity_pixels && p == k;
        view_.one_to_one = view_.one_to_one && (k == 0 || p != pixels[k - 1]);
    }
}

}  // namespace pixfold::bindings
