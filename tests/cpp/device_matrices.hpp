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
    explicit DeviceCsr(const Csr& csr)
        : values_(csr.view().values, csr.n_stored() * size_of(csr.view().dtype)),
          indices_(csr.view().indices, csr.n_stored() * (csr.view().wide_indices ? 8 : 4)),
          row_start_(csr.view().row_start, csr.view().n_samples + 1),
          view_(csr.view()) {
        view_.values = values_.data();
        view_.indices = indices_.data();
        view_.row_start = row_start_.data();
    }
    const CsrView& view() const { return view_; }

  private:
    DeviceMemory values_;
    DeviceMemory indices_;
    DeviceArray<std::int64_t> row_start_;
    CsrView view_;
};

}  // namespace pixfold::tests
