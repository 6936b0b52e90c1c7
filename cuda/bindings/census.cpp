#include "pixfold/census.hpp"

#include "call.hpp"

namespace pixfold::cuda::bindings {
namespace {

constexpr const char* census_op = "census";

void census_of_dense(const DenseView& x, Address counts, int device, Address stream) {
    queue(census_op, {device, stream}, [&](void* on) { census_dense(x, at<unsigned long long>(counts), on); });
}

void census_of_csr(const CsrView& x, std::int64_t n_stored, Address counts, int device, Address stream) {
    queue(census_op, {device, stream}, [&](void* on) { census_csr(x, n_stored, at<unsigned long long>(counts), on); });
}

}  // namespace

void register_census(py::module_& module) {
    module.def("census_dense", &census_of_dense, py::arg("x"), py::arg("counts"), py::arg("device"), py::arg("stream"),
               "Queue the counting of missing, infinite and negative values of dense samples, added to counts.");
    module.def("census_csr", &census_of_csr, py::arg("x"), py::arg("n_stored"), py::arg("counts"), py::arg("device"),
               py::arg("stream"), "The same of the stored values of sparse rows.");
}

}  // namespace pixfold::cuda::bindings
