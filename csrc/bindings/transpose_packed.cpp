#include "pixfold/transpose_packed.hpp"

#include "array.hpp"
#include "cpu/threads.hpp"

namespace pixfold::bindings {
namespace {

void transpose(const Array& bits, std::int64_t n_codes, const Array& out, int threads) {
    const Arguments of("transpose_packed");
    constexpr std::int64_t most = std::int64_t{1} << 60;
    if (n_codes < 1 || n_codes > most) {
        of.refuse("n_codes", "in [1, " + std::to_string(most) + "]", std::to_string(n_codes));
    }
    const PackedView view = of.packed("bits", bits, n_codes);
    if (view.n_samples == 0) {
        of.refuse("bits", "rows", "none");
    }
    const PackedView columns = of.packed("out", out, view.n_samples);
    if (columns.n_samples != n_codes || !out.writeable) {
        of.refuse("out", "writeable rows, " + std::to_string(n_codes) + " of them", out.described());
    }
    const PackedRows rows{static_cast<std::uint8_t*>(out.data), columns.sample_stride};
    const int used = threads_for(threads, 2 * out.nbytes());
    py::gil_scoped_release release;
    cpu::transpose_packed(view, rows, used);
}

}  // namespace

void register_transpose_packed(py::module_& module) {
    module.def("transpose_packed", &transpose, py::arg("bits"), py::arg("n_codes"), py::arg("out"), py::arg("threads"),
               "Turn rows of n_codes packed codes each into columns, into out.");
}

}  // namespace pixfold::bindings
