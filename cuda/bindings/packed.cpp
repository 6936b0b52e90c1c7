#include "pixfold/packed.hpp"

#include "call.hpp"
#include "device_slots.hpp"

namespace pixfold::cuda::bindings {
namespace {

// Rows that are folded: all, in order, or those of `samples`.
struct Folded {
    PackedView rows;
    const std::int64_t* sample;
};

Folded folded(const Arguments& of, const Array& bits, std::int64_t n_features, const OptionalArray& samples) {
    Folded found{of.packed("bits", bits, n_features), nullptr};
    if (samples) {
        found.rows.n_samples = samples->size();
        found.sample = of.vector<std::int64_t>("samples", samples, found.rows.n_samples);
    }
    return found;
}

void queue_fold_packed(const Array& bits, const DeviceSlots& slots, const Array& planes, const Array& out,
                       Stream stream, const OptionalArray& samples) {
    const Arguments of = arguments("fold", "bits", bits);
    const Folded x = folded(of, bits, slots.n_features(), samples);
    const Slots& layout = slots.view(of, "bits", slots.n_features());
    if (!layout.one_to_one) {
        of.refuse("layout", "of one feature per pixel", "one with shared pixels");
    }
    const FoldOutput images = of.images("out", out, x.rows.n_samples, layout.n_pixels);
    const void* table = of.elements("planes", planes, images.dtype, product(4, layout.n_pixels));
    const Scratch scratch(bits, layout.feature == nullptr ? 0 : 4 * packed_scratch(x.rows));
    const FoldPackedArguments fold{
        x.rows, layout, table, size_of(images.dtype), images.data, scratch.as<std::uint32_t>(), x.sample};
    queue(of, stream, [&](void* on) { fold_packed(fold, on); });
}

void queue_fold_packed_means(const Array& bits, const DeviceSlots& slots, const Array& values, const Array& out,
                             Stream stream, const OptionalArray& samples) {
    const Arguments of = arguments("fold", "bits", bits);
    const Folded x = folded(of, bits, slots.n_features(), samples);
    const Slots& layout = slots.view(of, "bits", slots.n_features());
    if (layout.first_slot == nullptr) {
        of.refuse("layout", "one with shared pixels", "one feature per pixel");
    }
    const Scratch scratch(bits, 4 * packed_scratch(x.rows));
    const FoldPackedMeans fold{x.rows,
                               layout,
                               of.vector<float>("values", values, product(4, layout.n_slots)),
                               of.images("out", out, x.rows.n_samples, layout.n_pixels),
                               scratch.as<std::uint32_t>(),
                               x.sample};
    queue(of, stream, [&](void* on) { fold_packed_means(fold, on); });
}

}  // namespace

void register_packed(py::module_& module) {
    module.def("fold_packed", &queue_fold_packed, py::arg("bits"), py::arg("slots"), py::arg("planes"), py::arg("out"),
               py::arg("stream"), py::arg("samples") = py::none(),
               "Queue the fold of packed genotypes into out. planes: what each code becomes at each pixel. samples: "
               "int64, the rows to fold.");
    module.def("fold_packed_means", &queue_fold_packed_means, py::arg("bits"), py::arg("slots"), py::arg("values"),
               py::arg("out"), py::arg("stream"), py::arg("samples") = py::none(),
               "The same where pixels show several features. values: what each code becomes at each slot.");
}

}  // namespace pixfold::cuda::bindings
