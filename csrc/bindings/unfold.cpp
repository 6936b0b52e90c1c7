#include "pixfold/unfold.hpp"

#include "array.hpp"
#include "cpu/threads.hpp"
#include "slots.hpp"

namespace pixfold::bindings {
namespace {

void unfold(const Array& images, const Slots& layout, const Array& out, int threads) {
    const Arguments of("unfold");
    const DType dtype = of.dtype_of("images", images);
    const std::int64_t n = images.ndim > 1 ? images.shape[0] : 0;
    const UnfoldArguments arguments{of.elements("images", images, dtype, product(n, layout.view().n_pixels)),
                                    of.output("out", out, dtype, product(n, layout.n_features())),
                                    size_of(dtype),
                                    n,
                                    layout.n_features(),
                                    layout.view().n_pixels,
                                    layout.pixel_of_feature(),
                                    layout.identity()};
    const int used = threads_for(threads, out.nbytes());
    py::gil_scoped_release release;
    cpu::unfold(arguments, used);
}

}  // namespace

void register_unfold(py::module_& module) {
    module.def("unfold", &unfold, py::arg("images"), py::arg("slots"), py::arg("out"), py::arg("threads"),
               "Gather each feature's pixel into out.");
}

}  // namespace pixfold::bindings
