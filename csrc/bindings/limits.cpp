#include "pixfold/limits.hpp"

#include "arrays.hpp"
#include "cpu/threads.hpp"

namespace pixfold::bindings {
namespace {

std::int64_t bytes_of(const char* op, const char* argument, const py::array& array) {
    const bool aligned = reinterpret_cast<std::uintptr_t>(array.data()) % 8 == 0;
    const bool references = py::cast<bool>(array.dtype().attr("hasobject"));  // which cannot be copied as bytes
    if ((array.flags() & py::array::c_style) == 0 || !aligned || references) {
        refuse(op, argument, "C-contiguous, aligned to 8 bytes and free of objects", describe(array));
    }
    return array.nbytes();
}

void copy(py::array to, const py::array& from, int threads) {
    const std::int64_t n = bytes_of("copy_bytes", "to", to);
    if (bytes_of("copy_bytes", "from", from) != n) {
        refuse("copy_bytes", "from", std::to_string(n) + " bytes", describe(from));
    }
    void* out = to.mutable_data();
    const void* in = from.data();
    const int used = threads_for(threads, n);
    py::gil_scoped_release release;
    copy_bytes(out, in, n, used);
}

void fill(py::array to, int threads, int value) {
    const std::int64_t n = bytes_of("fill_bytes", "to", to);
    void* out = to.mutable_data();
    const int used = threads_for(threads, n);
    py::gil_scoped_release release;
    fill_bytes(out, value, n, used);
}

std::uint64_t read(const py::array& from, int threads) {
    const std::int64_t n = bytes_of("read_bytes", "from", from);
    const void* in = from.data();
    const int used = threads_for(threads, n);
    py::gil_scoped_release release;
    return read_bytes(in, n, used);
}

}  // namespace

void register_limits(py::module_& module) {
    module.def("copy_bytes", &copy, py::arg("to"), py::arg("from_"), py::arg("threads"),
               "memcpy on the kernels' threads: the limit of fold.");
    module.def("fill_bytes", &fill, py::arg("to"), py::arg("threads"), py::arg("value") = 1,
               "memset of every byte to `value` on the kernels' threads: the limit of sparse and packed input.");
    module.def("read_bytes", &read, py::arg("from_"), py::arg("threads"),
               "Sum of all 8-byte words on the kernels' threads: the limit of statistics.");
}

}  // namespace pixfold::bindings
