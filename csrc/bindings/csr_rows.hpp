// Compressed sparse rows, checked once: whoever holds one may read it without looking again.
#pragma once

#include "arrays.hpp"

namespace pixfold::bindings {

class CsrRows {
  public:
    // Throws ValueError where row_start does not rise from 0 to at most nnz or an index is out of range, TypeError for
    // values that are not numbers. Arrays: C-contiguous; values bfloat16 as uint16 bits where `bfloat16` says so;
    // indices int32 or int64; row_start int64. They are kept alive.
    CsrRows(const char* op, py::array values, bool bfloat16, py::array indices, py::array row_start,
            std::int64_t n_features, int threads);

    // Whether the indices of every row increase strictly; the kernels want that.
    bool canonical() const { return canonical_; }
    std::int64_t nnz() const { return values_.size(); }

    // The rows for a kernel of `op`; throws ValueError unless they are canonical.
    CsrView view(const char* op) const;

  private:
    py::array values_;
    py::array indices_;
    py::array row_start_;
    CsrView view_{};
    bool canonical_ = false;
};

}  // namespace pixfold::bindings
