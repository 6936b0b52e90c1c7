#include "device_slots.hpp"

namespace pixfold::cuda::bindings {

DeviceSlots::DeviceSlots(OptionalArray feature, OptionalArray first_slot, OptionalArray slot_of_feature,
                         OptionalArray pixel_of_feature, std::int64_t n_features, std::int64_t n_slots,
                         std::int64_t n_pixels, bool one_to_one)
    : feature_(std::move(feature)),
      first_slot_(std::move(first_slot)),
      slot_of_feature_(std::move(slot_of_feature)),
      pixel_of_feature_(std::move(pixel_of_feature)),
      n_features_(n_features) {
    const auto numbers = [](const char* name, const OptionalArray& array, std::int64_t size) {
        return array ? Arguments("layout", array->device).vector<std::int32_t>(name, array, size) : nullptr;
    };
    slots_ = {numbers("feature", feature_, n_slots), numbers("first_slot", first_slot_, product(n_pixels, 1) + 1),
              n_slots, n_pixels, one_to_one};
    of_feature_[0] = numbers("slot_of_feature", slot_of_feature_, n_features);
    of_feature_[1] = numbers("pixel_of_feature", pixel_of_feature_, n_features);
}

const Slots& DeviceSlots::view(const Arguments& of, const char* argument, std::int64_t n_features) const {
    if (n_features != n_features_) {
        of.refuse(argument, "of the layout's " + std::to_string(n_features_) + " features", std::to_string(n_features));
    }
    for (const OptionalArray* array : {&feature_, &first_slot_, &slot_of_feature_, &pixel_of_feature_}) {
        if (*array) {
            of.check_device("layout", (*array)->device);
        }
    }
    return slots_;
}

DeviceSlots DeviceSlots::apart() const {
    return {feature_, std::nullopt, std::nullopt, std::nullopt, n_features_, slots_.n_slots, slots_.n_slots, true};
}

}  // namespace pixfold::cuda::bindings
