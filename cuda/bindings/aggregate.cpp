#include "pixfold/aggregate.hpp"

#include "call.hpp"

namespace pixfold::cuda::bindings {
namespace {

void queue_aggregate(const Array& attributions, const Array& labels, const OptionalArray& keep, const Array& count,
                     const Array& side, const Array& first, const Array& second, const Array& refused, Stream stream) {
    const Arguments of = arguments("aggregate", "attributions", attributions);
    const DType dtype = of.dtype_of("attributions", attributions);
    if (attributions.ndim != 3 || !pixfold::bindings::is_float(dtype) || !attributions.aligned()) {
        of.refuse("attributions", "aligned floats (n_samples, n_channels, n_pixels)", attributions.described());
    }
    const std::int64_t n_samples = attributions.shape[0];
    const std::int64_t n_pixels = attributions.shape[2];
    const std::int64_t n_classes = count.size();
    const auto stride = [&](std::size_t d) { return attributions.strides[d] / size_of(dtype); };
    const AggregateBatch batch{
        attributions.data,
        dtype,
        n_samples,
        attributions.shape[1],
        n_pixels,
        stride(0),
        stride(1),
        stride(2),
        of.vector<std::int64_t>("labels", labels, n_samples),
        keep ? static_cast<const std::uint8_t*>(of.elements("keep", *keep, DType::b8, n_samples)) : nullptr};
    const std::int64_t n_moments = product(product(n_classes, 3), n_pixels);
    const AggregateState state{
        n_classes,
        of.output<std::int64_t>("count", count, n_classes),
        of.output<std::int64_t>("side", side, n_classes),
        {of.output<double>("first", first, n_moments), of.output<double>("second", second, n_moments)},
        reinterpret_cast<unsigned long long*>(of.output<std::int64_t>("refused", refused, 3))};
    const std::int64_t part = aggregate_part_samples(n_samples, n_pixels);
    const Scratch workspace(attributions, aggregate_workspace_bytes(n_samples, n_classes, n_pixels, part));
    queue(of, stream, [&](void* on) { aggregate(batch, state, part, workspace.as(), on); });
}

}  // namespace

void register_aggregate(py::module_& module) {
    module.def("aggregate", &queue_aggregate, py::arg("attributions"), py::arg("labels"), py::arg("keep"),
               py::arg("count"), py::arg("side"), py::arg("first"), py::arg("second"), py::arg("refused"),
               py::arg("stream"),
               "Queue a batch: of each class that has samples in it, new moments go to the one of first and second "
               "(n_classes, 3, n_pixels) that side does not name, and count and side follow. A batch with anything "
               "wrong in it leaves both, and adds to refused: moments that are not finite, labels out of range, marks "
               "that are neither 0 nor 1.");
}

}  // namespace pixfold::cuda::bindings
