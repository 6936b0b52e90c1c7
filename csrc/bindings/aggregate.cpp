#include "pixfold/aggregate.hpp"

#include <vector>

#include "classes.hpp"
#include "cpu/threads.hpp"

namespace pixfold::bindings {
namespace {

// samples: positions in the batch, class after class; added: how many each class has; seen, before and after: per
// class, with None before where nothing was seen.
bool aggregate(const Array& attributions, const Array& samples, const Array& added, const Array& seen,
               const std::vector<OptionalArray>& before, const std::vector<Array>& after, int threads) {
    const Arguments of("aggregate");
    const DType dtype = of.dtype_of("attributions", attributions);
    if (attributions.ndim != 3 || !is_float(dtype) || attributions.shape[1] < 1) {
        of.refuse("attributions", "floats (n_samples, n_channels, n_pixels)", attributions.described());
    }
    of.elements("attributions", attributions, dtype, attributions.size());
    const std::int64_t n_pixels = attributions.shape[2];
    const std::vector<ClassSamples> classes =
        class_samples(of, samples, added, seen, before, after, attributions.shape[0], n_pixels);
    const AggregateArguments arguments{attributions.data, dtype,          attributions.shape[1],
                                       n_pixels,          classes.data(), static_cast<std::int64_t>(classes.size())};
    const std::int64_t sample_bytes = product(attributions.shape[1], n_pixels) * size_of(dtype);
    const int used = threads_for(threads, samples.size() * sample_bytes);
    py::gil_scoped_release release;
    return cpu::aggregate(arguments, used);
}

}  // namespace

void register_aggregate(py::module_& module) {
    module.def("aggregate", &aggregate, py::arg("attributions"), py::arg("samples"), py::arg("added"), py::arg("seen"),
               py::arg("before"), py::arg("after"), py::arg("threads"),
               "Moments after a batch from those before; whether they are finite.");
}

}  // namespace pixfold::bindings
