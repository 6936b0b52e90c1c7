// A layout, checked once and kept as the kernels want it.
#pragma once

#include <cstdint>
#include <vector>

#include "array.hpp"
#include "pixfold/views.hpp"

namespace pixfold::bindings {

class Slots {
  public:
    // int64 arrays of the features that have a pixel and of their pixels, sorted by pixel. Throws ValueError where one
    // is out of range, a feature comes twice, the pixels fall, or there are more than 2^31 - 1 of either.
    Slots(const Array& feature, const Array& pixel, std::int64_t n_features, std::int64_t n_pixels);

    SlotView view() const { return view_; }
    // Both -1 for a feature without a pixel.
    const std::int32_t* slot_of_feature() const { return slot_of_feature_.data(); }
    const std::int32_t* pixel_of_feature() const { return pixel_of_feature_.data(); }
    // Whether every feature j has a pixel, and that is pixel j.
    bool identity() const { return view_.identity_features && view_.identity_pixels && view_.n_slots == n_features(); }
    std::int64_t n_features() const { return static_cast<std::int64_t>(slot_of_feature_.size()); }

    Slots(const Slots&) = delete;
    Slots& operator=(const Slots&) = delete;

  private:
    std::vector<std::int32_t> feature_;
    std::vector<std::int32_t> pixel_;
    std::vector<std::int32_t> slot_of_feature_;
    std::vector<std::int32_t> pixel_of_feature_;
    SlotView view_;
};

}  // namespace pixfold::bindings
