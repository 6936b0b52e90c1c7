#include "pixfold/aggregate.hpp"

#include <limits>
#include <vector>

#include "arrays.hpp"
#include "cpu/threads.hpp"

namespace pixfold::bindings {
namespace {

constexpr const char* aggregate_op = "aggregate";

// samples: positions in the batch, class after class; added: how many each class has; seen, before and after: per
// class, with None before where nothing was seen.
bool aggregate(const py::array& attributions, bool bfloat16, const py::array& samples, const py::array& added,
               const py::array& seen, const py::list& before, const py::list& after, int threads) {
    const DType dtype = dtype_of(aggregate_op, "attributions", attributions, bfloat16);
    const bool is_float = dtype == DType::f32 || dtype == DType::f64 || dtype == DType::f16 || dtype == DType::bf16;
    if (attributions.ndim() != 3 || (attributions.flags() & py::array::c_style) == 0 || !is_float ||
        attributions.shape(1) < 1 || !is_aligned(attributions, static_cast<std::size_t>(attributions.itemsize()))) {
        refuse(aggregate_op, "attributions", "a C-contiguous and aligned float array (n_samples, n_channels, n_pixels)",
               describe(attributions));
    }
    const std::int64_t n_samples = attributions.shape(0);
    const std::int64_t n_pixels = attributions.shape(2);
    const std::int64_t n_kept = samples.size();
    const std::int64_t n_classes = added.size();
    const std::int64_t* positions = vector_of<std::int64_t>(aggregate_op, "samples", samples, n_kept);
    for (std::int64_t i = 0; i < n_kept; ++i) {
        if (positions[i] < 0 || positions[i] >= n_samples) {
            refuse(aggregate_op, "samples", "in [0, " + std::to_string(n_samples) + ")", std::to_string(positions[i]));
        }
    }
    const std::int64_t* sizes = vector_of<std::int64_t>(aggregate_op, "added", added, n_classes);
    const std::int64_t* counts = vector_of<std::int64_t>(aggregate_op, "seen", seen, n_classes);
    if (static_cast<std::int64_t>(before.size()) != n_classes || static_cast<std::int64_t>(after.size()) != n_classes) {
        refuse(aggregate_op, "before and after", "lists of " + std::to_string(n_classes),
               std::to_string(before.size()) + " and " + std::to_string(after.size()));
    }
    const std::int64_t size = product(3, n_pixels);
    std::vector<ClassSamples> classes;
    std::int64_t first = 0;
    for (std::int64_t k = 0; k < n_classes; ++k) {
        if (sizes[k] < 1 || sizes[k] > n_kept - first || counts[k] < 0 ||
            counts[k] > std::numeric_limits<std::int64_t>::max() - n_kept) {
            refuse(aggregate_op, "added and seen", "sizes of parts of samples, and counts",
                   std::to_string(sizes[k]) + " and " + std::to_string(counts[k]));
        }
        // Arrays that the lists hold: anything else would be converted to one that is gone with this loop.
        const py::object old = before[static_cast<std::size_t>(k)];
        const py::object next = after[static_cast<std::size_t>(k)];
        if (!py::isinstance<py::array>(next) || (counts[k] > 0 && !py::isinstance<py::array>(old))) {
            refuse(aggregate_op, "before and after", "lists of arrays",
                   "something else for class " + std::to_string(k));
        }
        py::array out = py::reinterpret_borrow<py::array>(next);
        classes.push_back({positions + first, sizes[k], counts[k],
                           counts[k] > 0
                               ? vector_of<double>(aggregate_op, "before", py::reinterpret_borrow<py::array>(old), size)
                               : nullptr,
                           output_of<double>(aggregate_op, "after", out, size)});
        first += sizes[k];
    }
    const AggregateArguments arguments{attributions.data(), dtype,    attributions.shape(1), n_pixels,
                                       classes.data(),      n_classes};
    const std::int64_t sample_bytes = n_samples > 0 ? attributions.nbytes() / n_samples : 0;
    const int used = threads_for(threads, n_kept * sample_bytes);
    py::gil_scoped_release release;
    return cpu::aggregate(arguments, used);
}

}  // namespace

void register_aggregate(py::module_& module) {
    module.def("aggregate", &aggregate, py::arg("attributions"), py::arg("bfloat16"), py::arg("samples"),
               py::arg("added"), py::arg("seen"), py::arg("before"), py::arg("after"), py::arg("threads"),
               "Moments after a batch from those before; whether they are finite.");
}

}  // namespace pixfold::bindings
