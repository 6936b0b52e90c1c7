// Compressed sparse rows on a device, as Python hands them over.
#pragma once

#include "call.hpp"

namespace pixfold::cuda::bindings {

class DeviceRows {
  public:
    // C-contiguous tensors: values, indices (int32 or int64) and row starts (int64). Nobody looks at the indices: those
    // of a row must rise, and kernels count those out of range.
    DeviceRows(const char* op, Array values, Array indices, Array row_start, std::int64_t n_features)
        : values_(std::move(values)), indices_(std::move(indices)), row_start_(std::move(row_start)) {
        view_ = pixfold::bindings::csr_view(arguments(op, "X", values_), values_, indices_, row_start_, n_features);
    }

    const CsrView& view() const { return view_; }
    // What stands for the rows where their device and allocator are asked for.
    const Array& values() const { return values_; }

  private:
    Array values_;
    Array indices_;
    Array row_start_;
    CsrView view_{};
};

}  // namespace pixfold::cuda::bindings
