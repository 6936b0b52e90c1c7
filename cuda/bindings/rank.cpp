#include "pixfold/rank.hpp"

#include <pybind11/stl.h>

#include <array>

#include "call.hpp"

namespace pixfold::cuda::bindings {
namespace {

// A survey as Python reads it from the device.
using Numbers = std::array<std::int64_t, 4>;
static_assert(sizeof(Survey) == sizeof(Numbers));

Survey survey_of(const Numbers& numbers) {
    return {numbers[0], numbers[1], numbers[2], static_cast<std::uint64_t>(numbers[3])};
}

std::int64_t workspace_bytes(std::int64_t n, int device) {
    std::int64_t bytes = 0;
    queue("rank", {device, 0}, [&](void*) { bytes = rank_workspace_bytes(n); });
    return bytes;
}

void queue_survey(Address values, std::int64_t n, Address workspace, Address found, int device, Address stream) {
    queue("rank", {device, stream},
          [&](void* on) { survey(at<double>(values), n, at<void>(workspace), at<Survey>(found), on); });
}

void queue_ranks(Address values, std::int64_t n, const Numbers& found, Address ranks, Address workspace, int device,
                 Address stream) {
    queue("rank", {device, stream}, [&](void* on) {
        average_ranks(at<double>(values), n, survey_of(found), at<double>(ranks), at<void>(workspace), on);
    });
}

void queue_top_k(Address values, std::int64_t n, const Numbers& found, std::int64_t k, Address positions,
                 Address n_selected, Address workspace, int device, Address stream) {
    queue("top_k", {device, stream}, [&](void* on) {
        top_k(at<double>(values), n, survey_of(found), k, at<std::int64_t>(positions), at<std::int64_t>(n_selected),
              at<void>(workspace), on);
    });
}

}  // namespace

void register_rank(py::module_& module) {
    module.attr("most_ranked") = most_ranked;
    module.def("survey_workspace_bytes", &survey_workspace_bytes, py::arg("n"));
    module.def("rank_workspace_bytes", &workspace_bytes, py::arg("n"), py::arg("device"));
    module.def("survey", &queue_survey, py::arg("values"), py::arg("n"), py::arg("workspace"), py::arg("found"),
               py::arg("device"), py::arg("stream"), "Queue a survey into found, four int64.");
    module.def("average_ranks", &queue_ranks, py::arg("values"), py::arg("n"), py::arg("survey"), py::arg("ranks"),
               py::arg("workspace"), py::arg("device"), py::arg("stream"), "Queue ranks, 1 for the largest.");
    module.def("top_k", &queue_top_k, py::arg("values"), py::arg("n"), py::arg("survey"), py::arg("k"),
               py::arg("positions"), py::arg("n_selected"), py::arg("workspace"), py::arg("device"), py::arg("stream"),
               "Queue the selection of the largest values; how many goes to n_selected.");
}

}  // namespace pixfold::cuda::bindings
