#include "device.hpp"

#include "launch.hpp"

namespace pixfold::cuda {
namespace {

void check(cudaError_t status) {
    if (status != cudaSuccess) {
        cudaGetLastError();  // so that the next call does not report it again
        throw Error(cudaGetErrorString(status));
    }
}

}  // namespace

int runtime_version() { return CUDART_VERSION; }

int driver_version() {
    int version = 0;
    check(cudaDriverGetVersion(&version));
    return version;
}

std::vector<Device> devices() {
    std::vector<Device> found;
    if (driver_version() == 0) {
        return found;
    }
    int n = 0;
    const cudaError_t status = cudaGetDeviceCount(&n);
    if (status == cudaErrorNoDevice) {
        cudaGetLastError();
        return found;
    }
    check(status);
    for (int device = 0; device < n; ++device) {
        cudaDeviceProp properties{};
        check(cudaGetDeviceProperties(&properties, device));
        found.push_back({properties.name, properties.major, properties.minor,
                         static_cast<std::int64_t>(properties.totalGlobalMem)});
    }
    return found;
}

OnDevice::OnDevice(int device) : before_(device) {
    check(cudaGetDevice(&before_));
    if (before_ != device) {
        check(cudaSetDevice(device));
    }
}

OnDevice::~OnDevice() {
    int now = before_;
    if (cudaGetDevice(&now) == cudaSuccess && now != before_) {
        cudaSetDevice(before_);
    }
}

}  // namespace pixfold::cuda
