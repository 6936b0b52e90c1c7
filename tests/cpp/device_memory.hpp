// Memory that the CUDA kernels under test work in: under the shim plain memory of exactly the size that was asked for,
// so that AddressSanitizer sees any access outside; with a real compiler the device's.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "launch.hpp"

namespace pixfold::tests {

class DeviceMemory {
  public:
    explicit DeviceMemory(std::int64_t bytes) : bytes_(static_cast<std::size_t>(bytes)), data_(allocate(bytes_)) {}
    DeviceMemory(const void* from, std::int64_t bytes) : DeviceMemory(bytes) { copy(data_.get(), from, bytes_); }

    void* data() { return data_.get(); }
    void read(void* to) const { copy(to, data_.get(), bytes_); }  // when all that was queued is done

  private:
#ifdef PIXFOLD_SIMT_SHIM
    struct Free {
        void operator()(char* memory) const { ::operator delete(memory, std::align_val_t{16}); }
    };
    static char* allocate(std::size_t bytes) { return static_cast<char*>(::operator new(bytes, std::align_val_t{16})); }
    static void copy(void* to, const void* from, std::size_t bytes) {
        if (bytes > 0) {
            std::memcpy(to, from, bytes);
        }
    }
#else
    struct Free {
        void operator()(char* memory) const { cudaFree(memory); }
    };
    static void check(cudaError_t status) {
        if (status != cudaSuccess) {
            throw cuda::Error(cudaGetErrorString(status));
        }
    }
    static char* allocate(std::size_t bytes) {
        void* memory = nullptr;
        check(cudaMalloc(&memory, bytes));
        return static_cast<char*>(memory);
    }
    static void copy(void* to, const void* from, std::size_t bytes) {
        check(cudaMemcpy(to, from, bytes, cudaMemcpyDefault));
    }
#endif

    std::size_t bytes_;
    std::unique_ptr<char, Free> data_;
};

// An array of the host's, on the device.
template <class T>
class DeviceArray {
  public:
    explicit DeviceArray(const std::vector<T>& values)
        : DeviceArray(values.data(), static_cast<std::int64_t>(values.size())) {}
    DeviceArray(const T* values, std::int64_t n) : memory_(values, n * static_cast<std::int64_t>(sizeof(T))), n_(n) {}

    T* data() { return static_cast<T*>(memory_.data()); }
    std::vector<T> read() const {
        std::vector<T> values(static_cast<std::size_t>(n_));
        memory_.read(values.data());
        return values;
    }

  private:
    DeviceMemory memory_;
    std::int64_t n_;
};

}  // namespace pixfold::tests
