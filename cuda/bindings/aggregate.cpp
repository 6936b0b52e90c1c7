#include "pixfold/aggregate.hpp"

#include <pybind11/numpy.h>

#include <cstring>
#include <vector>

#include "bindings/classes.hpp"
#include "call.hpp"

namespace pixfold::cuda::bindings {
namespace {

template <class T>
std::int64_t numbers_in(const std::vector<T>& table) {
    static_assert(sizeof(T) % sizeof(std::int64_t) == 0);
    return static_cast<std::int64_t>(table.size() * sizeof(T) / sizeof(std::int64_t));
}

template <class T>
std::int64_t* append(std::int64_t* to, const T* from, std::size_t n) {
    if (n > 0) {
        std::memcpy(to, from, n * sizeof(T));
    }
    return to + n * sizeof(T) / sizeof(std::int64_t);
}

// Copies the plan and the positions of the samples to the device: classes, parts, positions. Returns the host's copy,
// which must live until the device has read it.
py::array_t<std::int64_t> queue_aggregate(const Array& attributions, const Array& samples, const Array& added,
                                          const Array& seen, const std::vector<OptionalArray>& before,
                                          const std::vector<Array>& after, const Array& bad, Stream stream) {
    const Arguments of = arguments("aggregate", "attributions", attributions);
    const DType dtype = of.dtype_of("attributions", attributions);
    if (attributions.ndim != 3 || !pixfold::bindings::is_float(dtype) || !attributions.aligned()) {
        of.refuse("attributions", "aligned floats (n_samples, n_channels, n_pixels)", attributions.described());
    }
    const std::int64_t n_pixels = attributions.shape[2];
    const std::int64_t n_kept = samples.size();
    std::vector<ClassSamples> classes =
        pixfold::bindings::class_samples(of, samples, added, seen, before, after, attributions.shape[0], n_pixels);
    for (const ClassSamples& one : classes) {
        for (const double* moments : {one.before, static_cast<const double*>(one.after)}) {
            if (reinterpret_cast<std::uintptr_t>(moments) % 16 != 0) {
                of.refuse("before and after", "aligned to 16 bytes", "others");
            }
        }
    }
    auto* bad_count = reinterpret_cast<unsigned long long*>(of.output<std::int64_t>("bad", bad, 1));
    const AggregatePlan plan = plan_aggregate(classes.data(), static_cast<std::int64_t>(classes.size()), n_pixels);
    const auto n_classes = static_cast<std::int64_t>(plan.classes.size());
    const auto n_parts = static_cast<std::int64_t>(plan.parts.size());
    const std::int64_t n_numbers = numbers_in(plan.classes) + numbers_in(plan.parts) + n_kept;

    const Scratch table(attributions, n_numbers * size_of(DType::i64));
    const Scratch workspace(attributions, aggregate_workspace_bytes(n_classes, n_parts, n_pixels));
    auto* numbers_there = table.as<std::int64_t>();
    auto* parts_there = numbers_there + numbers_in(plan.classes);
    const std::int64_t* positions_there = parts_there + numbers_in(plan.parts);
    std::vector<PlannedClass> planned = plan.classes;
    for (PlannedClass& one : planned) {
        one.samples.samples = positions_there;
        positions_there += one.samples.n_samples;
    }
    py::array_t<std::int64_t> numbers(n_numbers);
    std::int64_t* to = append(numbers.mutable_data(), planned.data(), planned.size());
    to = append(to, plan.parts.data(), plan.parts.size());
    append(to, static_cast<const std::int64_t*>(samples.data), static_cast<std::size_t>(n_kept));
    table.copy_from(numbers);

    const auto stride = [&](std::size_t d) { return attributions.strides[d] / size_of(dtype); };
    const AggregateBatch batch{attributions.data,
                               dtype,
                               attributions.shape[1],
                               n_pixels,
                               stride(0),
                               stride(1),
                               stride(2),
                               reinterpret_cast<const PlannedClass*>(numbers_there),
                               n_classes,
                               reinterpret_cast<const Part*>(parts_there),
                               n_parts};
    queue(of, stream, [&](void* on) { aggregate(batch, workspace.as(), bad_count, on); });
    return numbers;
}

}  // namespace

void register_aggregate(py::module_& module) {
    module.def("aggregate", &queue_aggregate, py::arg("attributions"), py::arg("samples"), py::arg("added"),
               py::arg("seen"), py::arg("before"), py::arg("after"), py::arg("bad"), py::arg("stream"),
               "Queue moments after a batch from those before; adds to bad how many are not finite. Keep what this "
               "returns until the device is done.");
}

}  // namespace pixfold::cuda::bindings
