// A fold whose layout, normaliser and types are those of one before: what is left to say is where samples and images
// lie.
#pragma once

#include "bindings/parameters.hpp"
#include "device_slots.hpp"

namespace pixfold::cuda::bindings {

class FoldPlan {
  public:
    // x and out stand for all samples and images of their types on their device. Without a row scale.
    FoldPlan(const Array& x, DeviceSlots slots, pixfold::bindings::OptionalParameters parameters, const Array& out,
             OptionalArray counts)
        : of_(arguments("fold", "X", x)),
          type_(of_.dtype_of("X", x)),
          slots_(std::move(slots)),
          parameters_(parameters ? std::optional(**parameters) : std::nullopt),
          counts_(std::move(counts)),
          layout_(slots_.view(of_, "X", slots_.n_features())),
          formula_(pixfold::bindings::parameters_of(
              of_, parameters_ ? pixfold::bindings::OptionalParameters(&*parameters_) : std::nullopt, std::nullopt,
              computes_in_double(type_), layout_.n_slots, 0)),
          images_(of_.images("out", out, out.ndim > 0 ? out.shape[0] : 0, layout_.n_pixels).dtype),
          met_(counts_ ? reinterpret_cast<unsigned long long*>(of_.output<std::int64_t>("counts", *counts_, 3))
                       : nullptr) {}
    FoldPlan(const FoldPlan&) = delete;
    FoldPlan& operator=(const FoldPlan&) = delete;

    // Queues the fold of n_samples samples, whose strides are in elements, to C-contiguous images. False, and nothing
    // is queued, where the two overlap, and where it would be faster with scratch memory. Nobody looks whether there is
    // such memory.
    bool operator()(std::uintptr_t x, std::int64_t n_samples, std::int64_t sample_stride, std::int64_t feature_stride,
                    std::uintptr_t out, Stream stream) const {
        const std::int64_t element = size_of(type_);
        const DenseView view{
            reinterpret_cast<const void*>(x), type_, n_samples, slots_.n_features(), sample_stride * element,
            feature_stride * element};
        const FoldOutput images{reinterpret_cast<void*>(out), images_};
        if ((n_samples > 0 && overlap(view, x, out)) ||
            ask(of_, [&] { return fold_dense_workspace(view, layout_, formula_, images); }) > 0) {
            return false;
        }
        queue(of_, stream, [&](void* on) { fold_dense(view, layout_, formula_, images, met_, on); });
        return true;
    }

  private:
    // torch has no negative strides.
    bool overlap(const DenseView& view, std::uintptr_t x, std::uintptr_t out) const {
        const std::int64_t last =
            (view.n_samples - 1) * view.sample_stride + (view.n_features - 1) * view.feature_stride;
        const auto x_end = x + static_cast<std::uintptr_t>(last + size_of(type_));
        const auto out_end = out + static_cast<std::uintptr_t>(view.n_samples * layout_.n_pixels * size_of(images_));
        return x < out_end && out < x_end;
    }

    Arguments of_;
    DType type_;
    DeviceSlots slots_;
    std::optional<pixfold::bindings::Parameters> parameters_;
    OptionalArray counts_;
    Slots layout_;
    NormalizeParameters formula_;
    DType images_;
    unsigned long long* met_;
};

}  // namespace pixfold::cuda::bindings
