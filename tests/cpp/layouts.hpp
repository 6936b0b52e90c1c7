// Layouts of the kinds that the kernels tell apart, as slots.
#pragma once

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "pixfold/views.hpp"

namespace pixfold::tests {

enum class Kind { natural, gather, scatter, shuffled, dropped, many, all_on_one };
inline constexpr int n_kinds = 7;

class Layout {
  public:
    Layout(Kind kind, std::int64_t n_features, std::uint64_t seed = 1) {
        const auto size = static_cast<std::size_t>(n_features);
        std::mt19937_64 random(seed);
        feature_.resize(size);
        std::iota(feature_.begin(), feature_.end(), 0);
        if (kind != Kind::natural && kind != Kind::scatter) {
            for (std::size_t k = size; k > 1; --k) {
                std::swap(feature_[k - 1], feature_[random() % k]);
            }
        }
        if (kind == Kind::dropped) {
            feature_.resize(size / 2);
        }
        feature_.shrink_to_fit();
        std::int64_t next = 0;
        for (std::size_t k = 0; k < feature_.size(); ++k) {
            const bool gaps = kind == Kind::scatter || kind == Kind::shuffled;
            const bool shares = kind == Kind::all_on_one || (kind == Kind::many && k > 0 && random() % 3 != 0);
            next += gaps ? static_cast<std::int64_t>(random() % 3) : 0;
            pixel_.push_back(static_cast<std::int32_t>(shares && k > 0 ? next - 1 : next++));
        }
        pixel_.shrink_to_fit();
        // A layout with every pixel taken has none to spare; the others end in padding.
        n_pixels_ = next + (kind == Kind::gather ? 0 : 3);
        slot_of_feature_.assign(size, -1);
        for (std::size_t k = 0; k < feature_.size(); ++k) {
            slot_of_feature_[static_cast<std::size_t>(feature_[k])] = static_cast<std::int32_t>(k);
        }
    }

    SlotView view() const {
        SlotView view{feature_.data(), pixel_.data(), n_slots(), n_pixels_, true, true, true};
        for (std::int64_t k = 0; k < n_slots(); ++k) {
            view.identity_features = view.identity_features && view.feature[k] == k;
            view.identity_pixels = view.identity_pixels && view.pixel[k] == k;
            view.one_to_one = view.one_to_one && (k == 0 || view.pixel[k] != view.pixel[k - 1]);
        }
        return view;
    }
    const std::int32_t* slot_of_feature() const { return slot_of_feature_.data(); }
    std::int64_t n_slots() const { return static_cast<std::int64_t>(feature_.size()); }
    std::int64_t n_pixels() const { return n_pixels_; }

  private:
    std::vector<std::int32_t> feature_;
    std::vector<std::int32_t> pixel_;
    std::vector<std::int32_t> slot_of_feature_;
    std::int64_t n_pixels_;
};

}  // namespace pixfold::tests
