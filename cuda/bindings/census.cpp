#include "pixfold/census.hpp"

#include "call.hpp"
#include "device_rows.hpp"

namespace pixfold::cuda::bindings {
namespace {

unsigned long long* census_counts(const Arguments& of, const Array& counts) {
    return reinterpret_cast<unsigned long long*>(of.output<std::int64_t>("counts", counts, 3));
}

void queue_census_dense(const Array& x, const Array& counts, Stream stream) {
    const Arguments of = arguments("census", "X", x);
    const DenseView view = of.samples("X", x);
    unsigned long long* to = census_counts(of, counts);
    queue(of, stream, [&](void* on) { census_dense(view, to, on); });
}

void queue_census_csr(const DeviceRows& rows, const Array& counts, Stream stream) {
    const Arguments of = arguments("census", "X", rows.values());
    unsigned long long* to = census_counts(of, counts);
    queue(of, stream, [&](void* on) { census_csr(rows.view(), rows.values().size(), to, on); });
}

}  // namespace

void register_census(py::module_& module) {
    module.def("census_dense", &queue_census_dense, py::arg("x"), py::arg("counts"), py::arg("stream"),
               "Queue the counting of missing, infinite and negative values of dense samples, added to counts.");
    module.def("census_csr", &queue_census_csr, py::arg("rows"), py::arg("counts"), py::arg("stream"),
               "The same of the stored values of sparse rows.");
}

}  // namespace pixfold::cuda::bindings
