// The test matrices on the device, in memory of exactly the size that they address.
#pragma once

#include "device_memory.hpp"
#include "matrices.hpp"

namespace pixfold::tests {

class DeviceDense {
  public:
    explicit DeviceDense(const Dense& dense) : memory_(dense.memory()), view_(dense.view()) {
        view_.data = memory_.data() + (static_cast<const char*>(view_.data) - dense.memory().data());
    }
    const DenseView& view() const { return view_; }

  private:
    DeviceArray<char> memory_;
    DenseView view_;
};

class DeviceCsr {
  public:
    explicit DeviceCsr(const CsrView& x)
        : values_(x.values, x.row_start[x.n_samples] * size_of(x.dtype)),
          indices_(x.indices, x.row_start[x.n_samples] * (x.wide_indices ? 8 : 4)),
          row_start_(x.row_start, x.n_samples + 1),
          view_(x) {
        view_.values = values_.data();
        view_.indices = indices_.data();
        view_.row_start = row_start_.data();
    }
    explicit DeviceCsr(const Csr& csr) : DeviceCsr(csr.view()) {}
    const CsrView& view() const { return view_; }

  private:
    DeviceMemory values_;
    DeviceMemory indices_;
    DeviceArray<std::int64_t> row_start_;
    CsrView view_;
};

}  // namespace pixfold::tests
