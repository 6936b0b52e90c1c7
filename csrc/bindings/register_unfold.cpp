#include "arrays.hpp"
#include "pixfold/dispatch.hpp"
#include "pixfold/threads.hpp"
#include "register.hpp"

namespace pixfold::bindings {
namespace {

void unfold(const py::array& images, const py::array& pixel_of_feature, py::array out, int threads) {
    constexpr const char* op = "unfold";
    const std::int64_t size = images.itemsize();
    if (images.ndim() != 2 || (images.flags() & py::array::c_style) == 0 ||
        (size != 1 && size != 2 && size != 4 && size != 8) || images.dtype().kind() == 'O') {
        refuse(op, "images", "C-contiguous numbers, (n_samples, n_pixels)", describe(images));
    }
    const std::int64_t n_features = pixel_of_feature.size();
    const std::int64_t* pixels = vector_of<std::int64_t>(op, "pixel_of_feature", pixel_of_feature, n_features);
    for (std::int64_t j = 0; j < n_features; ++j) {
        if (pixels[j] < -1 || pixels[j] >= images.shape(1)) {
            refuse(op, "pixel_of_feature", "in [-1, " + std::to_string(images.shape(1)) + ")",
                   std::to_string(pixels[j]));
        }
    }
    if (!out.dtype().equal(images.dtype()) || out.ndim() != 2 || out.shape(0) != images.shape(0) ||
        out.shape(1) != n_features || (out.flags() & py::array::c_style) == 0 || !out.writeable()) {
        refuse(op, "out", "a C-contiguous writeable array of the images' dtype, (n_samples, n_features)",
               describe(out));
    }
    const UnfoldArguments arguments{images.data(), out.mutable_data(), size,  images.shape(0),
                                    n_features,    images.shape(1),    pixels};
    const int used = threads_for(threads, images.shape(0) * n_features * size);
    py::gil_scoped_release release;
    kernels().unfold(arguments, used);
}

}  // namespace

void register_unfold(py::module_& module) {
    module.def("unfold", &unfold, py::arg("images"), py::arg("pixel_of_feature"), py::arg("out"), py::arg("threads"),
               "Gather each feature's pixel into out.");
}

}  // namespace pixfold::bindings
