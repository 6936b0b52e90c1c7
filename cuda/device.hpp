// The CUDA devices of the machine, found without torch. Nothing here runs on a device.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pixfold::cuda {

struct Device {
    std::string name;
    int major;  // compute capability
    int minor;
    std::int64_t memory;  // bytes
};

// Versions as CUDA writes them: 1000 * major + 10 * minor.
int runtime_version();
int driver_version();  // 0 on a machine without a driver

// Throws Error where there is a driver that cannot be used; none without a driver.
std::vector<Device> devices();

// Makes a device the current one, and the one before it on the way out.
class OnDevice {
  public:
    explicit OnDevice(int device);
    ~OnDevice();
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;

  private:
    int before_;
};

}  // namespace pixfold::cuda
