// The choice between the tables of kernels, and how many threads a kernel may use.
#include <algorithm>
#include <stdexcept>

#include "checks.hpp"
#include "pixfold/dispatch.hpp"
#include "pixfold/threads.hpp"

namespace pixfold::tests {
namespace {

void isas() {
    const std::vector<std::string> names = available_isas();
    CHECK(!names.empty());
    CHECK_EQUAL(names.front(), "baseline");
    for (const std::string& name : names) {
        set_isa(name);
        CHECK_EQUAL(std::string(kernels().isa), name);
    }
    bool refused = false;
    try {
        set_isa("no such set");
    } catch (const std::invalid_argument& error) {
        refused = std::string(error.what()).find("no such set") != std::string::npos;
    }
    CHECK(refused);
    CHECK_EQUAL(std::string(kernels().isa), names.back());  // a refusal changes nothing
}

void threads() {
    CHECK(default_threads() >= 1);
    CHECK_EQUAL(threads_for(4, 0), 1);
    CHECK_EQUAL(threads_for(4, (1 << 20) - 1), 1);
    CHECK_EQUAL(threads_for(0, std::int64_t{1} << 40), default_threads());
#ifdef _OPENMP
    CHECK_EQUAL(threads_for(4, 1 << 20), 2);
    CHECK_EQUAL(threads_for(4, std::int64_t{1} << 40), 4);
#endif
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"isas", isas}, {"threads", threads}});
}
