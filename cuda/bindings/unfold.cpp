#include "pixfold/unfold.hpp"

#include "call.hpp"
#include "device_slots.hpp"

namespace pixfold::cuda::bindings {
namespace {

void queue_unfold(const Array& images, const DeviceSlots& slots, const Array& out, Stream stream) {
    const Arguments of = arguments("unfold", "images", images);
    const Slots& layout = slots.view(of, "images", slots.n_features());
    const DType dtype = of.dtype_of("images", images);
    const std::int64_t n = images.ndim > 1 ? images.shape[0] : 0;
    const UnfoldArguments unfolded{of.elements("images", images, dtype, product(n, layout.n_pixels)),
                                   of.output("out", out, dtype, product(n, slots.n_features())),
                                   size_of(dtype),
                                   n,
                                   slots.n_features(),
                                   layout.n_pixels,
                                   slots.pixel_of_feature(),
                                   slots.pixel_of_feature() == nullptr};
    const Scratch scratch(images, ask(of, [&] { return unfold_workspace(unfolded); }));
    queue(of, stream, [&](void* on) { unfold(unfolded, on, scratch.workspace()); });
}

}  // namespace

void register_unfold(py::module_& module) {
    module.def("unfold", &queue_unfold, py::arg("images"), py::arg("slots"), py::arg("out"), py::arg("stream"),
               "Queue the gathering of each feature's pixel into out.");
}

}  // namespace pixfold::cuda::bindings
