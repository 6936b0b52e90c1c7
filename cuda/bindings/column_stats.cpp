#include "pixfold/column_stats.hpp"

#include "call.hpp"
#include "pixfold/packed.hpp"

namespace pixfold::cuda::bindings {
namespace {

constexpr const char* column_stats_op = "column_stats";

StatsArguments how(bool log, bool clip_below_zero, Address offset, Address row_scale) {
    return {log, clip_below_zero, at<double>(offset), at<double>(row_scale)};
}

// Seven rows of n_features numbers of 64 bits: count, missing, zeros, min, max, mean, M2.
StatsOutput output(Address out, std::int64_t n_features) {
    auto* whole = at<std::int64_t>(out);
    auto* real = at<double>(out) + 3 * n_features;
    return {whole,
            whole + n_features,
            whole + 2 * n_features,
            real,
            real + n_features,
            real + 2 * n_features,
            real + 3 * n_features};
}

void stats_of_dense(const DenseView& x, const StatsArguments& arguments, Address out, Address counts, Address workspace,
                    int device, Address stream) {
    queue(column_stats_op, {device, stream}, [&](void* on) {
        column_stats_dense(x, arguments, output(out, x.n_features), at<unsigned long long>(counts), at<void>(workspace),
                           on);
    });
}

void stats_of_csr(const CsrView& x, const StatsArguments& arguments, Address out, Address counts, Address workspace,
                  int device, Address stream) {
    queue(column_stats_op, {device, stream}, [&](void* on) {
        column_stats_csr(x, arguments, output(out, x.n_features), at<unsigned long long>(counts), at<void>(workspace),
                         on);
    });
}

void stats_of_packed(const PackedView& x, std::int32_t copies, const StatsArguments& arguments, Address out,
                     Address counts, int device, Address stream) {
    queue(column_stats_op, {device, stream}, [&](void* on) {
        column_stats_packed(x, copies, arguments, output(out, x.n_features), at<unsigned long long>(counts), on);
    });
}

}  // namespace

void register_column_stats(py::module_& module) {
    py::class_<StatsArguments>(module, "StatsArguments", "What is done to values before they are added up.")
        .def(py::init(&how), py::arg("log"), py::arg("clip_below_zero"), py::arg("offset"), py::arg("row_scale"));
    module.def("column_stats_dense_workspace", &column_stats_dense_workspace, py::arg("x"),
               "Bytes of scratch memory for these samples.");
    module.def("column_stats_csr_workspace", &column_stats_csr_workspace, py::arg("x"),
               "Bytes of scratch memory for these samples.");
    module.def("column_stats_dense", &stats_of_dense, py::arg("x"), py::arg("arguments"), py::arg("out"),
               py::arg("counts"), py::arg("workspace"), py::arg("device"), py::arg("stream"),
               "Queue the statistics of dense samples into out (count, missing, zeros, min, max, mean, M2, each "
               "n_features numbers of 64 bits); adds to counts (negative, infinite).");
    module.def("column_stats_csr", &stats_of_csr, py::arg("x"), py::arg("arguments"), py::arg("out"), py::arg("counts"),
               py::arg("workspace"), py::arg("device"), py::arg("stream"),
               "The same of sparse rows; counts has a third number, of the stored values that were taken.");
    module.def("column_stats_packed", &stats_of_packed, py::arg("x"), py::arg("copies"), py::arg("arguments"),
               py::arg("out"), py::arg("counts"), py::arg("device"), py::arg("stream"),
               "The same of packed genotypes.");
}

}  // namespace pixfold::cuda::bindings
