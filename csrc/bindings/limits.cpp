#include "pixfold/limits.hpp"

#include "array.hpp"
#include "cpu/threads.hpp"

namespace pixfold::bindings {
namespace {

std::int64_t bytes_of(const char* op, const char* argument, const Array& array) {
    const bool aligned = reinterpret_cast<std::uintptr_t>(array.data) % 8 == 0;
    if (!array.c_contiguous() || !aligned || array.device != on_cpu) {
        refuse(op, argument, "numbers, C-contiguous and aligned to 8 bytes", array.described());
    }
    return array.nbytes();
}

void copy(const Array& to, const Array& from, int threads) {
    const std::int64_t n = bytes_of("copy_bytes", "to", to);
    if (bytes_of("copy_bytes", "from", from) != n || !to.writeable) {
        refuse("copy_bytes", "from", std::to_string(n) + " bytes, and to writeable", from.described());
    }
    const int used = threads_for(threads, n);
    py::gil_scoped_release release;
    copy_bytes(to.data, from.data, n, used);
}

void fill(const Array& to, int threads, int value) {
    const std::int64_t n = bytes_of("fill_bytes", "to", to);
    if (!to.writeable) {
        refuse("fill_bytes", "to", "a writeable array", "a read-only one");
    }
    const int used = threads_for(threads, n);
    py::gil_scoped_release release;
    fill_bytes(to.data, value, n, used);
}

std::uint64_t read_all(const Array& from, int threads) {
    const std::int64_t n = bytes_of("read_bytes", "from", from);
    const int used = threads_for(threads, n);
    py::gil_scoped_release release;
    return read_bytes(from.data, n, used);
}

}  // namespace

void register_limits(py::module_& module) {
    module.def("copy_bytes", &copy, py::arg("to"), py::arg("from_"), py::arg("threads"),
               "memcpy on the kernels' threads: the limit of fold.");
    module.def("fill_bytes", &fill, py::arg("to"), py::arg("threads"), py::arg("value") = 1,
               "memset of every byte to `value` on the kernels' threads: the limit of sparse and packed input.");
    module.def("read_bytes", &read_all, py::arg("from_"), py::arg("threads"),
               "Sum of all 8-byte words on the kernels' threads: the limit of statistics.");
}

}  // namespace pixfold::bindings
