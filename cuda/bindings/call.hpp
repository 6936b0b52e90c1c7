// How the module is called: memory is the address of an array on a device, whose type and size Python has checked
// (pixfold/ops/_cuda.py), a stream its handle. 0 stands for what is not there.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <utility>

#include "device.hpp"
#include "launch.hpp"
#include "pixfold/views.hpp"

namespace pixfold::cuda::bindings {

namespace py = pybind11;

using Address = std::uintptr_t;

template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

// The element type of torch's and NumPy's name for it.
DType dtype_of(const std::string& name);

// Where a call goes.
struct Queue {
    int device;
    Address stream;
};

// Runs `work(stream)` with the device current and without the GIL; an Error gets the op's name.
template <class Work>
void queue(const char* op, const Queue& to, Work&& work) {
    try {
        py::gil_scoped_release release;
        const OnDevice current(to.device);
        std::forward<Work>(work)(at<void>(to.stream));
    } catch (const Error& error) {
        throw Error(std::string(op) + ": CUDA reports: " + error.what());
    }
}

}  // namespace pixfold::cuda::bindings
