// How the kernels of a device are called: arrays are tensors there, a stream is its handle.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "bindings/array.hpp"
#include "device.hpp"
#include "launch.hpp"
#include "pixfold/views.hpp"

namespace pixfold::cuda::bindings {

namespace py = pybind11;

using pixfold::bindings::Arguments;
using pixfold::bindings::Array;
using pixfold::bindings::OptionalArray;
using pixfold::bindings::product;
using pixfold::bindings::size_of;

// The handle of the stream that calls are queued on.
using Stream = std::uintptr_t;

// The arguments of a call whose `argument` is x: all other arrays must be on its device.
inline Arguments arguments(const char* op, const char* argument, const Array& x) {
#ifndef PIXFOLD_SIMT_SHIM
    if (x.device < 0) {
        pixfold::bindings::refuse(op, argument, "on a CUDA device", x.described());
    }
#else
    static_cast<void>(argument);
#endif
    return Arguments(op, x.device);
}

// Memory for the time of a call, of x's own allocator, which knows the stream that is current. The call is done when
// the kernels are queued: memory that is given back then is used again behind them.
class Scratch {
  public:
    Scratch(const Array& x, std::int64_t n_bytes) : bytes_(n_bytes) {
        if (n_bytes > 0) {
            const py::object bytes = py::module_::import("torch").attr("uint8");
            owner_ = x.owner.attr("new_empty")(py::make_tuple(n_bytes), py::arg("dtype") = bytes);
            data_ = reinterpret_cast<void*>(py::cast<std::uintptr_t>(owner_.attr("data_ptr")()));
        }
    }
    template <class T = void>
    T* as() const {
        return static_cast<T*>(data_);
    }
    Workspace workspace() const { return {data_, bytes_}; }

  private:
    py::object owner_;
    void* data_ = nullptr;
    std::int64_t bytes_;
};

// The answer of `work` with the device current; an Error gets the op's name.
template <class Work>
auto ask(const Arguments& of, Work&& work) {
    try {
        const OnDevice current(of.device());
        return std::forward<Work>(work)();
    } catch (const Error& error) {
        throw Error(std::string(of.op()) + ": CUDA reports: " + error.what());
    }
}

// Runs `work(stream)` with the device current and without the GIL; an Error gets the op's name.
template <class Work>
void queue(const Arguments& of, Stream stream, Work&& work) {
    try {
        py::gil_scoped_release release;
        const OnDevice current(of.device());
        std::forward<Work>(work)(reinterpret_cast<void*>(stream));
    } catch (const Error& error) {
        throw Error(std::string(of.op()) + ": CUDA reports: " + error.what());
    }
}

}  // namespace pixfold::cuda::bindings
