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

CsrRows::CsrRows(const char* op, Array values, Array indices, Array row_start, std::int64_t n_features, int threads)
    : values_(std::move(values)), indices_(std::move(indices)), row_start_(std::move(row_start)) {
    view_ = csr_view(Arguments(op), values_, indices_, row_start_, n_features);
    const std::int64_t nnz = values_.size();
    const std::int64_t* starts = view_.row_start;
    bool rises = starts[0] == 0 && starts[view_.n_samples] <= nnz;
    for (std::int64_t i = 0; rises && i < view_.n_samples; ++i) {
        rises = starts[i] <= starts[i + 1];
    }
    if (!rises) {
        refuse(op, "X.indptr", "rising from 0 to at most nnz = " + std::to_string(nnz),
               std::string(py::str(row_start_.owner)));
    }
    const auto* wide = static_cast<const std::int64_t*>(view_.indices);
    const auto* narrow = static_cast<const std::int32_t*>(view_.indices);
    const int used = threads_for(threads, indices_.nbytes());
    Indices found{};
    {
        py::gil_scoped_release release;
        found = view_.wide_indices ? check_indices(wide, view_, used) : check_indices(narrow, view_, used);
    }
    if (!found.in_range) {
        view_.wide_indices ? refuse_index(op, wide, view_) : refuse_index(op, narrow, view_);
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
