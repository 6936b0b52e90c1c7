#include "csr_rows.hpp"

#include <utility>

#include "cpu/threads.hpp"

namespace pixfold::bindings {
namespace {

struct Indices {
    bool in_range;
    bool rising;
};

template <class I>
Indices check_indices(const I* indices, const CsrView& x, int threads) {
    bool in_range = true;
    bool rising = true;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(&& : in_range, rising)
    for (std::int64_t i = 0; i < x.n_samples; ++i) {
        const std::int64_t start = x.row_start[i];
        const std::int64_t end = x.row_start[i + 1];
        bool fits = true;
        bool rises = true;
        for (std::int64_t e = start; e < end; ++e) {
            fits &= indices[e] >= 0 && static_cast<std::int64_t>(indices[e]) < x.n_features;
        }
        for (std::int64_t e = start + 1; e < end; ++e) {
            rises &= indices[e] > indices[e - 1];
        }
        in_range = in_range && fits;
        rising = rising && rises;
    }
    return {in_range, rising};
}

template <class I>
[[noreturn]] void refuse_index(const char* op, const I* indices, const CsrView& x) {
    for (std::int64_t e = 0;; ++e) {
        if (indices[e] < 0 || static_cast<std::int64_t>(indices[e]) >= x.n_features) {
            refuse(op, "X.indices", "in [0, " + std::to_string(x.n_features) + ")", std::to_string(indices[e]));
        }
    }
}

}  // namespace

CsrRows::CsrRows(const char* op, py::array values, bool bfloat16, py::array indices, py::array row_start,
                 std::int64_t n_features, int threads)
    : values_(std::move(values)), indices_(std::move(indices)), row_start_(std::move(row_start)) {
    const DType dtype = dtype_of(op, "X.data", values_, bfloat16);
    const std::int64_t nnz = values_.size();
    if (values_.ndim() != 1 || (values_.flags() & py::array::c_style) == 0 ||
        !is_aligned(values_, static_cast<std::size_t>(values_.itemsize()))) {
        refuse(op, "X.data", "one-dimensional, contiguous and aligned", describe(values_));
    }
    const bool wide = py::isinstance<py::array_t<std::int64_t>>(indices_);
    const void* index_data = wide ? static_cast<const void*>(vector_of<std::int64_t>(op, "X.indices", indices_, nnz))
                                  : vector_of<std::int32_t>(op, "X.indices", indices_, nnz);
    const std::int64_t* starts = vector_of<std::int64_t>(op, "X.indptr", row_start_, row_start_.size());
    const std::int64_t n_samples = row_start_.size() - 1;
    bool rises = n_samples >= 0 && starts[0] == 0 && starts[n_samples] <= nnz;
    for (std::int64_t i = 0; rises && i < n_samples; ++i) {
        rises = starts[i] <= starts[i + 1];
    }
    if (!rises || n_features < 0) {
        refuse(op, "X.indptr", "rising from 0 to at most nnz = " + std::to_string(nnz),
               std::string(py::str(row_start_)));
    }
    view_ = {values_.data(), dtype, index_data, wide, starts, n_samples, n_features};
    const int used = threads_for(threads, indices_.nbytes());
    Indices found{};
    {
        py::gil_scoped_release release;
        found = wide ? check_indices(static_cast<const std::int64_t*>(index_data), view_, used)
                     : check_indices(static_cast<const std::int32_t*>(index_data), view_, used);
    }
    if (!found.in_range) {
        wide ? refuse_index(op, static_cast<const std::int64_t*>(index_data), view_)
             : refuse_index(op, static_cast<const std::int32_t*>(index_data), view_);
    }
    canonical_ = found.rising;
}

CsrView CsrRows::view(const char* op) const {
    if (!canonical_) {
        refuse(op, "X", "canonical: the indices of each row increasing", "rows with unsorted or repeated indices");
    }
    return view_;
}

}  // namespace pixfold::bindings
