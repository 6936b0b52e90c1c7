#include "pixfold/aggregate.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstring>
#include <vector>

#include "call.hpp"

namespace pixfold::cuda::bindings {
namespace {

// The samples of a batch by class, and how they are shared out.
class ClassLists {
  public:
    ClassLists(const std::vector<std::int64_t>& added, const std::vector<std::int64_t>& seen, std::int64_t n_pixels)
        : n_pixels_(n_pixels) {
        if (added.size() != seen.size()) {
            throw py::value_error("aggregate: added and seen must have one number per class");
        }
        std::vector<ClassSamples> classes;
        for (std::size_t k = 0; k < added.size(); ++k) {
            classes.push_back({nullptr, added[k], seen[k], nullptr, nullptr});
            n_listed_ += added[k];
        }
        plan_ = plan_aggregate(classes.data(), static_cast<std::int64_t>(classes.size()), n_pixels);
    }

    std::int64_t table_size() const { return class_numbers() + part_numbers() + n_listed_; }
    std::int64_t workspace_bytes() const { return aggregate_workspace_bytes(n_classes(), n_parts(), n_pixels_); }

    // What is to be copied to `table`: classes, parts and positions.
    py::array_t<std::int64_t> table(const py::array_t<std::int64_t, py::array::c_style>& samples,
                                    const std::vector<Address>& before, const std::vector<Address>& after,
                                    Address table) const {
        const auto wanted = static_cast<std::size_t>(n_classes());
        if (samples.size() != n_listed_ || before.size() != wanted || after.size() != wanted) {
            throw py::value_error("aggregate: samples, before and after must be those of the lists");
        }
        std::vector<PlannedClass> classes = plan_.classes;
        const std::int64_t* next = at<std::int64_t>(table) + class_numbers() + part_numbers();
        for (std::size_t k = 0; k < classes.size(); ++k) {
            ClassSamples& of = classes[k].samples;
            of.samples = next;
            of.before = at<double>(before[k]);
            of.after = at<double>(after[k]);
            next += of.n_samples;
        }
        py::array_t<std::int64_t> numbers(table_size());
        char* to = reinterpret_cast<char*>(numbers.mutable_data());
        to = append(to, classes.data(), classes.size());
        to = append(to, plan_.parts.data(), plan_.parts.size());
        append(to, samples.data(), static_cast<std::size_t>(n_listed_));
        return numbers;
    }

    // Names the tables in a batch.
    void place(Address table, AggregateBatch& batch) const {
        batch.classes = at<PlannedClass>(table);
        batch.n_classes = n_classes();
        batch.parts = reinterpret_cast<const Part*>(at<std::int64_t>(table) + class_numbers());
        batch.n_parts = n_parts();
    }
    std::int64_t n_pixels() const { return n_pixels_; }

  private:
    template <class T>
    static char* append(char* to, const T* from, std::size_t n) {
        if (n > 0) {
            std::memcpy(to, from, n * sizeof(T));
        }
        return to + n * sizeof(T);
    }
    template <class T>
    static std::int64_t numbers_in(const std::vector<T>& table) {
        static_assert(sizeof(T) % sizeof(std::int64_t) == 0);
        return static_cast<std::int64_t>(table.size() * sizeof(T) / sizeof(std::int64_t));
    }
    std::int64_t n_classes() const { return static_cast<std::int64_t>(plan_.classes.size()); }
    std::int64_t n_parts() const { return static_cast<std::int64_t>(plan_.parts.size()); }
    std::int64_t class_numbers() const { return numbers_in(plan_.classes); }
    std::int64_t part_numbers() const { return numbers_in(plan_.parts); }

    std::int64_t n_pixels_;
    std::int64_t n_listed_ = 0;
    AggregatePlan plan_;
};

void queue_aggregate(Address attributions, const std::string& dtype, std::int64_t n_channels,
                     std::int64_t sample_stride, std::int64_t channel_stride, std::int64_t pixel_stride,
                     const ClassLists& lists, Address table, Address workspace, Address bad, int device,
                     Address stream) {
    AggregateBatch batch{at<void>(attributions),
                         dtype_of(dtype),
                         n_channels,
                         lists.n_pixels(),
                         sample_stride,
                         channel_stride,
                         pixel_stride,
                         nullptr,
                         0,
                         nullptr,
                         0};
    lists.place(table, batch);
    queue("aggregate", {device, stream},
          [&](void* on) { aggregate(batch, at<void>(workspace), at<unsigned long long>(bad), on); });
}

}  // namespace

void register_aggregate(py::module_& module) {
    py::class_<ClassLists>(module, "ClassLists", "The samples of a batch by class, and how they are shared out.")
        .def(py::init<const std::vector<std::int64_t>&, const std::vector<std::int64_t>&, std::int64_t>(),
             py::arg("added"), py::arg("seen"), py::arg("n_pixels"))
        .def_property_readonly("table_size", &ClassLists::table_size)
        .def_property_readonly("workspace_bytes", &ClassLists::workspace_bytes)
        .def("table", &ClassLists::table, py::arg("samples"), py::arg("before"), py::arg("after"), py::arg("table"),
             "The numbers that the device needs at the address `table`.");
    module.def("aggregate", &queue_aggregate, py::arg("attributions"), py::arg("dtype"), py::arg("n_channels"),
               py::arg("sample_stride"), py::arg("channel_stride"), py::arg("pixel_stride"), py::arg("lists"),
               py::arg("table"), py::arg("workspace"), py::arg("bad"), py::arg("device"), py::arg("stream"),
               "Queue moments after a batch from those before; adds to bad how many are not finite.");
}

}  // namespace pixfold::cuda::bindings
