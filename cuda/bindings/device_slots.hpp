// A layout on a device, as Python hands it over.
#pragma once

#include "call.hpp"
#include "pixfold/views.hpp"

namespace pixfold::cuda::bindings {

class DeviceSlots {
  public:
    // int32 tensors, or None where the numbers are 0, 1, 2...: the feature of each slot [n_slots], the first slot of
    // each pixel [n_pixels + 1], and of each feature its slot and its pixel [n_features]. Numbers inside them are not
    // looked at.
    DeviceSlots(OptionalArray feature, OptionalArray first_slot, OptionalArray slot_of_feature,
                OptionalArray pixel_of_feature, std::int64_t n_features, std::int64_t n_slots, std::int64_t n_pixels,
                bool one_to_one);

    // For a call on a device that these are on, of samples of so many features.
    const Slots& view(const Arguments& of, const char* argument, std::int64_t n_features) const;

    const std::int32_t* slot_of_feature() const { return of_feature_[0]; }
    const std::int32_t* pixel_of_feature() const { return of_feature_[1]; }
    std::int64_t n_features() const { return n_features_; }
    std::int64_t n_slots() const { return slots_.n_slots; }
    std::int64_t n_pixels() const { return slots_.n_pixels; }
    bool one_to_one() const { return slots_.one_to_one; }
    // The same features, each on a pixel of its own, in the order of their slots.
    DeviceSlots apart() const;

  private:
    OptionalArray feature_, first_slot_, slot_of_feature_, pixel_of_feature_;
    std::int64_t n_features_;
    Slots slots_{};
    const std::int32_t* of_feature_[2] = {nullptr, nullptr};
};

}  // namespace pixfold::cuda::bindings
