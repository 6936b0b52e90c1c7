// The shim's only device, for the bindings of cuda/: Python's half of the CUDA ops runs on memory of the host, too.
#include "device.hpp"

namespace pixfold::cuda {

int runtime_version() { return 0; }
int driver_version() { return 1000; }
std::vector<Device> devices() { return {{"threads of a block as fibers", 9, 0, 0}}; }

OnDevice::OnDevice(int device) : before_(device) {}
OnDevice::~OnDevice() = default;

}  // namespace pixfold::cuda
