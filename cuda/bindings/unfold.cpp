#include "pixfold/unfold.hpp"

#include "call.hpp"

namespace pixfold::cuda::bindings {
namespace {

void queue_unfold(Address images, Address out, std::int64_t element_size, std::int64_t n_samples,
                  std::int64_t n_features, std::int64_t n_pixels, Address pixel_of_feature, int device,
                  Address stream) {
    const UnfoldArguments arguments{at<void>(images),
                                    at<void>(out),
                                    element_size,
                                    n_samples,
                                    n_features,
                                    n_pixels,
                                    at<std::int32_t>(pixel_of_feature),
                                    pixel_of_feature == 0};
    queue("unfold", {device, stream}, [&](void* on) { unfold(arguments, on); });
}

}  // namespace

void register_unfold(py::module_& module) {
    module.def("unfold", &queue_unfold, py::arg("images"), py::arg("out"), py::arg("element_size"),
               py::arg("n_samples"), py::arg("n_features"), py::arg("n_pixels"), py::arg("pixel_of_feature"),
               py::arg("device"), py::arg("stream"), "Queue the gathering of each feature's pixel into out.");
}

}  // namespace pixfold::cuda::bindings
