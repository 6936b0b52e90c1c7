#include "pixfold/column_stats.hpp"

#include "call.hpp"
#include "device_rows.hpp"
#include "pixfold/packed.hpp"

namespace pixfold::cuda::bindings {
namespace {

// Where statistics go: seven rows of n_features numbers of 64 bits (count, missing, zeros, min, max, mean, M2), and
// behind them three counts.
struct StatsMemory {
    StatsOutput out;
    unsigned long long* counts;
};

StatsMemory stats_memory(const Arguments& of, const Array& out, std::int64_t n) {
    const std::int64_t columns = product(7, n);
    auto* whole = of.output<std::int64_t>("out", out, columns + 3);
    auto* real = reinterpret_cast<double*>(whole) + 3 * n;
    return {{whole, whole + n, whole + 2 * n, real, real + n, real + 2 * n, real + 3 * n},
            reinterpret_cast<unsigned long long*>(whole + columns)};
}

void queue_stats_dense(const Array& x, bool log, bool clip_below_zero, const OptionalArray& offset,
                       const OptionalArray& row_scale, const Array& out, Stream stream) {
    const Arguments of = arguments("column_stats", "X", x);
    const DenseView view = of.samples("X", x);
    const StatsArguments how{log, clip_below_zero, of.vector<double>("offset", offset, view.n_features),
                             of.vector<double>("row_scale", row_scale, view.n_samples)};
    const StatsMemory to = stats_memory(of, out, view.n_features);
    const Scratch workspace(x, column_stats_dense_workspace(view));
    queue(of, stream, [&](void* on) { column_stats_dense(view, how, to.out, to.counts, workspace.as(), on); });
}

void queue_stats_csr(const DeviceRows& rows, bool log, bool clip_below_zero, const OptionalArray& offset,
                     const OptionalArray& row_scale, const Array& out, Stream stream) {
    const Arguments of = arguments("column_stats", "X", rows.values());
    const CsrView& view = rows.view();
    const StatsArguments how{log, clip_below_zero, of.vector<double>("offset", offset, view.n_features),
                             of.vector<double>("row_scale", row_scale, view.n_samples)};
    const StatsMemory to = stats_memory(of, out, view.n_features);
    const Scratch workspace(rows.values(), column_stats_csr_workspace(view));
    queue(of, stream, [&](void* on) { column_stats_csr(view, how, to.out, to.counts, workspace.as(), on); });
}

void queue_stats_packed(const Array& bits, std::int64_t n_features, bool count_first, bool log, bool clip_below_zero,
                        const OptionalArray& offset, const Array& out, Stream stream) {
    const Arguments of = arguments("column_stats", "bits", bits);
    const PackedView view = of.packed("bits", bits, n_features);
    const StatsArguments how{log, clip_below_zero, of.vector<double>("offset", offset, n_features), nullptr};
    const StatsMemory to = stats_memory(of, out, n_features);
    queue(of, stream, [&](void* on) { column_stats_packed(view, count_first ? 2 : 0, how, to.out, to.counts, on); });
}

}  // namespace

void register_column_stats(py::module_& module) {
    module.def("column_stats_dense", &queue_stats_dense, py::arg("x"), py::arg("log"), py::arg("clip_below_zero"),
               py::arg("offset"), py::arg("row_scale"), py::arg("out"), py::arg("stream"),
               "Queue the statistics of dense samples into out: count, missing, zeros, min, max, mean and M2, each "
               "n_features numbers of 64 bits, and three counts that are added to (negative and infinite values).");
    module.def("column_stats_csr", &queue_stats_csr, py::arg("rows"), py::arg("log"), py::arg("clip_below_zero"),
               py::arg("offset"), py::arg("row_scale"), py::arg("out"), py::arg("stream"),
               "The same of sparse rows; the third count is of the stored values that were taken.");
    module.def("column_stats_packed", &queue_stats_packed, py::arg("bits"), py::arg("n_features"),
               py::arg("count_first"), py::arg("log"), py::arg("clip_below_zero"), py::arg("offset"), py::arg("out"),
               py::arg("stream"), "The same of packed genotypes.");
}

}  // namespace pixfold::cuda::bindings
