#include "pixfold/rank.hpp"

#include "call.hpp"

namespace pixfold::cuda::bindings {
namespace {

// A survey as Python reads it from the device.
using SurveyNumbers = std::array<std::int64_t, 4>;
static_assert(sizeof(Survey) == sizeof(SurveyNumbers));

Survey survey_of(const SurveyNumbers& numbers) {
    return {numbers[0], numbers[1], numbers[2], static_cast<std::uint64_t>(numbers[3])};
}

const double* importance_of(const Arguments& of, const Array& importance) {
    if (importance.ndim != 1 || importance.size() < 1 || importance.size() > most_ranked) {
        of.refuse("importance", "one-dimensional, of 1 to " + std::to_string(most_ranked) + " values",
                  importance.described());
    }
    return of.vector<double>("importance", importance, importance.size());
}

Scratch rank_workspace(const Arguments& of, const Array& importance) {
    std::int64_t bytes = 0;
    queue(of, 0, [&](void*) { bytes = rank_workspace_bytes(importance.size()); });
    return {importance, bytes};
}

void queue_survey(const char* op, const Array& importance, const Array& found, Stream stream) {
    const Arguments of = arguments(op, "importance", importance);
    const double* values = importance_of(of, importance);
    auto* to = reinterpret_cast<Survey*>(of.output<std::int64_t>("found", found, 4));
    const Scratch workspace(importance, survey_workspace_bytes(importance.size()));
    queue(of, stream, [&](void* on) { survey(values, importance.size(), workspace.as(), to, on); });
}

void queue_ranks(const Array& importance, const SurveyNumbers& found, const Array& out, Stream stream) {
    const Arguments of = arguments("rank", "importance", importance);
    const double* values = importance_of(of, importance);
    auto* ranks = of.output<double>("out", out, importance.size());
    const Scratch workspace = rank_workspace(of, importance);
    queue(of, stream,
          [&](void* on) { average_ranks(values, importance.size(), survey_of(found), ranks, workspace.as(), on); });
}

void queue_top_k(const Array& importance, const SurveyNumbers& found, const Array& positions, const Array& n_selected,
                 Stream stream) {
    const Arguments of = arguments("top_k", "importance", importance);
    const double* values = importance_of(of, importance);
    const std::int64_t k = positions.size();
    if (k > importance.size()) {
        of.refuse("positions", "no more than the importances", positions.described());
    }
    auto* to = of.output<std::int64_t>("positions", positions, k);
    auto* selected = of.output<std::int64_t>("n_selected", n_selected, 1);
    const Scratch workspace = rank_workspace(of, importance);
    queue(of, stream,
          [&](void* on) { top_k(values, importance.size(), survey_of(found), k, to, selected, workspace.as(), on); });
}

}  // namespace

void register_rank(py::module_& module) {
    module.attr("most_ranked") = most_ranked;
    module.def(
        "survey",
        [](const std::string& op, const Array& importance, const Array& found, Stream stream) {
            queue_survey(op.c_str(), importance, found, stream);
        },
        py::arg("op"), py::arg("importance"), py::arg("found"), py::arg("stream"),
        "Queue a survey into found, four int64: the position of the first NaN, or -1, comes first.");
    module.def("rank", &queue_ranks, py::arg("importance"), py::arg("survey"), py::arg("out"), py::arg("stream"),
               "Queue average ranks, 1 for the largest, into out.");
    module.def("top_k", &queue_top_k, py::arg("importance"), py::arg("survey"), py::arg("positions"),
               py::arg("n_selected"), py::arg("stream"),
               "Queue the selection of as many of the largest values as positions has room for; n_selected says how "
               "many they are.");
}

}  // namespace pixfold::cuda::bindings
