#include "pixfold/unfold.hpp"

#include "arrays.hpp"
#include "cpu/threads.hpp"
#include "slots.hpp"

namespace pixfold::bindings {
namespace {

void unfold(const py::array& images, const Slots& layout, py::array out, int threads) {
    constexpr const char* op = "unfold";
    const std::int64_t size = images.itemsize();
    if (images.ndim() != 2 || (images.flags() & py::array::c_style) == 0 ||
        (size != 1 && size != 2 && size != 4 && size != 8) || !is_aligned(images, static_cast<std::size_t>(size)) ||
        py::cast<bool>(images.dtype().attr("hasobject")) || images.shape(1) != layout.view().n_pixels) {
        refuse(op, "images",
               "C-contiguous and aligned numbers, (n_samples, " + std::to_string(layout.view().n_pixels) + ")",
               describe(images));
    }
    const std::int64_t n_features = layout.n_features();
    if (!out.dtype().equal(images.dtype()) || out.ndim() != 2 || out.shape(0) != images.shape(0) ||
        out.shape(1) != n_features || (out.flags() & py::array::c_style) == 0 || !out.writeable() ||
        !is_aligned(out, static_cast<std::size_t>(size))) {
        refuse(op, "out", "a C-contiguous, aligned and writeable array of the images' dtype, (n_samples, n_features)",
               describe(out));
    }
    const UnfoldArguments arguments{images.data(),
                                    out.mutable_data(),
                                    size,
                                    images.shape(0),
                                    n_features,
                                    images.shape(1),
                                    layout.pixel_of_feature(),
                                    layout.identity()};
    const int used = threads_for(threads, images.shape(0) * n_features * size);
    py::gil_scoped_release release;
    cpu::unfold(arguments, used);
}

}  // namespace

void register_unfold(py::module_& module) {
    module.def("unfold", &unfold, py::arg("images"), py::arg("slots"), py::arg("out"), py::arg("threads"),
               "Gather each feature's pixel into out.");
}

}  // namespace pixfold::bindings
