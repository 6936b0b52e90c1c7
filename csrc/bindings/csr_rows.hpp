// Compressed sparse rows, checked once: whoever holds one may read it without looking again.
#pragma once

#include "array.hpp"

namespace pixfold::bindings {

class CsrRows {
  public:
    // Throws ValueError where row_start does not rise from 0 to at most nnz or an index is out of range, TypeError for
    // values that are not numbers. Arrays: C-contiguous; indices int32 or int64; row_start int64.
    CsrRows(const char* op, Array values, Array indices, Array row_start, std::int64_t n_features, int threads);

    // Whether the indices of every row increase strictly; the kernels want that.
    bool canonical() const { return canonical_; }
    std::int64_t nnz() const { return values_.size(); }
    DType dtype() const { return view_.dtype; }

    // The rows for a kernel of `op`; throws ValueError unless they are canonical.
    CsrView view(const char* op) const;

  private:
    Array values_;
    Array indices_;
    Array row_start_;
    CsrView view_{};
    bool canonical_ = false;
};

}  // namespace pixfold::bindings
