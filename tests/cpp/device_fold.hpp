// What a fold needs, on the device: layouts, parameters and images.
#pragma once

#include <optional>
#include <vector>

#include "device_memory.hpp"
#include "fold_reference.hpp"
#include "images.hpp"
#include "layouts.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::tests {

class DeviceSlots {
  public:
    // `plain`: without the short cuts for features and pixels in order.
    explicit DeviceSlots(const SlotView& slots, bool plain = false)
        : feature_(slots.feature, slots.n_slots), first_slot_(first_slots(slots)) {
        view_ = {plain || !slots.identity_features ? feature_.data() : nullptr,
                 plain || !slots.identity_pixels || !slots.one_to_one ? first_slot_.data() : nullptr, slots.n_slots,
                 slots.n_pixels, slots.one_to_one};
    }
    const cuda::Slots& view() const { return view_; }

  private:
    static std::vector<std::int32_t> first_slots(const SlotView& slots) {
        std::vector<std::int32_t> first(static_cast<std::size_t>(slots.n_pixels + 1), 0);
        for (std::int64_t k = 0; k < slots.n_slots; ++k) {
            ++first[static_cast<std::size_t>(slots.pixel[k] + 1)];
        }
        for (std::size_t p = 1; p < first.size(); ++p) {
            first[p] += first[p - 1];
        }
        return first;
    }

    DeviceArray<std::int32_t> feature_;
    DeviceArray<std::int32_t> first_slot_;
    cuda::Slots view_;
};

// The parameters of a normaliser, or of none.
class DeviceParameters {
  public:
    DeviceParameters(const NormalizeParameters& host, std::int64_t n_slots, std::int64_t n_samples, DType input)
        : view_(host) {
        const std::int64_t bytes = n_slots * (computes_in_double(input) ? 8 : 4);
        for (const void** array : {&view_.offset, &view_.shift, &view_.scale, &view_.fill}) {
            if (*array != nullptr) {
                *array = memory_.emplace_back(*array, bytes).data();
            }
        }
        if (host.row_scale != nullptr) {
            view_.row_scale = static_cast<const double*>(memory_.emplace_back(host.row_scale, n_samples * 8).data());
        }
    }
    const NormalizeParameters& view() const { return view_; }

  private:
    std::vector<DeviceMemory> memory_;
    NormalizeParameters view_;
};

// Images on the device; `fold` is given where they go and the counts to add to.
template <class F>
FoldCounts fold_on_device(Images& images, F&& fold) {
    const auto bytes = static_cast<std::int64_t>(images.size() * size_of(images.output().dtype));
    DeviceMemory memory(images.output().data, bytes);
    DeviceArray<unsigned long long> counts(std::vector<unsigned long long>{10, 20});
    fold(FoldOutput{memory.data(), images.output().dtype}, counts.data());
    memory.read(images.output().data);
    const std::vector<unsigned long long> sums = counts.read();
    return {static_cast<std::int64_t>(sums[0]) - 10, static_cast<std::int64_t>(sums[1]) - 20};
}

}  // namespace pixfold::tests
