// Declarations of the kernels of one instruction set, for its table.
#pragma once

#include "pixfold/dispatch.hpp"
#include "pixfold/isa.hpp"

namespace pixfold::PIXFOLD_ISA {

FoldCounts fold_dense(const DenseView&, const SlotView&, const NormalizeParameters&, FoldOutput, int threads);
FoldCounts fold_csr(const CsrView&, const SlotView&, const std::int32_t* slot_of_feature, const NormalizeParameters&,
                    FoldOutput, int threads);
void fold_gradient(const DenseView&, const SlotView&, const NormalizeParameters&, double library_size, ImageGradient,
                   void* out, int threads);
void unfold(const UnfoldArguments&, int threads);
void unfold_gradient(const FeatureGradient&, const SlotView&, void* out, int threads);
StatsCounts column_stats_dense(const DenseView&, const StatsArguments&, const StatsOutput&, int threads);
StatsCounts column_stats_csr(const CsrView&, const StatsArguments&, const StatsOutput&, int threads);
void row_sums_dense(const DenseView&, double* out, int threads);
void row_sums_csr(const CsrView&, double* out, int threads);
CensusCounts census_dense(const DenseView&, int threads);
CensusCounts census_csr(const CsrView&, int threads);
bool aggregate(const AggregateArguments&, int threads);
void fold_packed(const PackedView&, const PackedTable&, void* out, int threads);
StatsCounts column_stats_packed(const PackedView&, std::int32_t copies, const StatsArguments&, const StatsOutput&,
                                int threads);
bool any_missing_packed(const PackedView&, int threads);
std::int64_t pack(const DenseView&, const PackArguments&, std::uint8_t* bits, int threads);
void transpose_packed(const PackedView&, const PackedRows&, int threads);

}  // namespace pixfold::PIXFOLD_ISA
