#include <pybind11/stl.h>

#include "device.hpp"

namespace pixfold::cuda::bindings {
namespace {

std::string version_text(int version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

void register_build(pybind11::module_& module) {
    namespace py = pybind11;
    py::list archs;
    for (const char* arch : {PIXFOLD_CUDA_ARCH_NAMES}) {
        archs.append(arch);
    }
    module.attr("archs") = archs;
    module.attr("version") = version_text(runtime_version());
    py::class_<Device>(module, "Device", "A CUDA device of this machine.")
        .def_readonly("name", &Device::name)
        .def_property_readonly("capability", [](const Device& device) { return std::pair(device.major, device.minor); })
        .def_readonly("memory", &Device::memory);
    module.def(
        "driver_version",
        [] {
            const int version = driver_version();
            return version == 0 ? std::nullopt : std::optional(version_text(version));
        },
        "The CUDA version that the driver supports, None without a driver.");
    module.def("devices", &devices, "The CUDA devices of this machine; none without a driver.");
}

}  // namespace pixfold::cuda::bindings
