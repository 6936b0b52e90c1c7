// The choice between the tables of kernels, and how many threads a kernel may use.
#include <algorithm>
#include <stdexcept>

#include "checks.hpp"
#include "cpu/dispatch.hpp"
#include "cpu/threads.hpp"

namespace pixfold::tests {
namespace {

void isas() {
    const std::vector<std::string> names = available_isas();
    CHECK(!names.empty());
    CHECK_EQUAL(names.front(), "baseline");
    for (const std::string& name : names) {
        set_isa(name);
        CHECK_EQUAL(isa_in_use(), name);
    }
    bool refused = false;
    try {
        set_isa("no such set");
    } catch (const std::invalid_argument& error) {
        refused = std::string(error.what()).find("no such set") != std::string::npos;
    }
    CHECK(refused);
    CHECK_EQUAL(isa_in_use(), names.back());  // a refusal changes nothing
}

std::string refusal(const std::string& name, const Processor& processor) {
    try {
        isa_for(name, processor);
    } catch (const std::exception& error) {
        return error.what();
    }
    return "";
}

// Machines other than this one: only names are looked at, no kernel runs.
void other_processors() {
    const Processor v2{true, false, false};
    const Processor v4{true, true, true};
    CHECK_EQUAL(isa_for("", v2), "baseline");
    CHECK_EQUAL(isa_for("baseline", v4), "baseline");
    CHECK(refusal("", {false, false, false}).find("SSE4.2") != std::string::npos);
    CHECK_EQUAL(refusal("avx2", v2), "PIXFOLD_ISA: must be one of baseline on this machine, got 'avx2'");
#ifdef PIXFOLD_HAS_X86
    const Processor v3{true, true, false};
    CHECK_EQUAL(isa_for("", v3), "avx2");
    CHECK_EQUAL(isa_for("", v4), "avx512");
    CHECK_EQUAL(isa_for("avx2", v4), "avx2");
    CHECK_EQUAL(refusal("avx512", v3), "PIXFOLD_ISA: must be one of baseline, avx2 on this machine, got 'avx512'");
    // AVX-512 without AVX2 is no level of x86-64: a hypervisor that hides one hides both.
    CHECK_EQUAL(isa_for("", {true, false, true}), "baseline");
#else
    CHECK_EQUAL(isa_for("", v4), "baseline");
#endif
    for (const char* name : {"sse9", "AVX2", "avx", "avx512 ", " "}) {
        CHECK(!refusal(name, v4).empty());
    }
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
    return run({{"isas", isas}, {"other_processors", other_processors}, {"threads", threads}});
}
