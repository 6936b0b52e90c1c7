// Where an op's kernels are tested: on the CPU with every instruction set, and on a device, which is a card or the
// simulator of its threads.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "checks.hpp"
#include "cpu/dispatch.hpp"

namespace pixfold::tests {

enum class Side { cpu, device };

inline std::vector<Side> sides() {
#ifdef PIXFOLD_NO_DEVICE
    return {Side::cpu};
#else
    return {Side::cpu, Side::device};
#endif
}

// A test that is of one side alone.
inline std::function<void()> only(Side side, void (*test)()) {
    return [=] {
        if (sides().front() == side || sides().back() == side) {
            test();
        }
    };
}

// Calls `run(threads)` with every instruction set and number of threads, and says so in the context.
template <class Run>
void on_cpu(std::initializer_list<int> numbers, Run&& run) {
    const std::string about = context;
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        for (const int threads : numbers) {
            context = about + ", " + isa + ", " + text(threads) + " threads";
            run(threads);
        }
    }
    context = about;
}

}  // namespace pixfold::tests
