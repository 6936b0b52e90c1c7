#include "pixfold/transpose_packed.hpp"

#include "arrays.hpp"
#include "cpu/threads.hpp"

namespace pixfold::bindings {
namespace {

constexpr const char* transpose_packed_op = "transpose_packed";

// A matrix of bytes, those of a row following each other.
void check_rows(const char* argument, const py::array& array, std::int64_t n_rows, std::int64_t row_bytes) {
    const bool fits = py::isinstance<py::array_t<std::uint8_t>>(array) && array.ndim() == 2 &&
                      array.shape(0) == n_rows && array.shape(1) == row_bytes &&
                      (array.strides(1) == 1 || row_bytes == 1 || array.size() == 0);
    if (!fits) {
        refuse(transpose_packed_op, argument,
               "a uint8 array of " + std::to_string(n_rows) + " rows of " + std::to_string(row_bytes) +
                   " contiguous bytes",
               describe(array));
    }
}

void transpose(const py::array& bits, std::int64_t n_codes, py::array out, int threads) {
    constexpr std::int64_t most = std::int64_t{1} << 60;
    if (n_codes < 1 || n_codes > most) {
        refuse(transpose_packed_op, "n_codes", "in [1, " + std::to_string(most) + "]", std::to_string(n_codes));
    }
    const std::int64_t n_rows = bits.ndim() > 0 ? bits.shape(0) : 0;
    check_rows("bits", bits, n_rows, (n_codes + 3) / 4);
    check_rows("out", out, n_codes, (n_rows + 3) / 4);
    if (!out.writeable()) {
        refuse(transpose_packed_op, "out", "a writeable array", "a read-only one");
    }
    const PackedView view{static_cast<const std::uint8_t*>(bits.data()), n_rows, n_codes, bits.strides(0)};
    const PackedRows rows{static_cast<std::uint8_t*>(out.mutable_data()), out.strides(0)};
    const int used = threads_for(threads, 2 * out.size());
    py::gil_scoped_release release;
    cpu::transpose_packed(view, rows, used);
}

}  // namespace

void register_transpose_packed(py::module_& module) {
    module.def("transpose_packed", &transpose, py::arg("bits"), py::arg("n_codes"), py::arg("out"), py::arg("threads"),
               "Turn rows of n_codes packed codes each into columns, into out.");
}

}  // namespace pixfold::bindings
