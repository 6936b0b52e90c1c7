#include "dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "pixfold/kernel.hpp"

namespace pixfold {
namespace {

Processor this_processor() {
    Processor processor;
#ifdef PIXFOLD_HAS_X86
    __builtin_cpu_init();
    processor.v2 = __builtin_cpu_supports("sse4.2");
    processor.v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    processor.v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl");
#endif
    return processor;
}

constexpr int undecided = -1;
std::atomic<int> current{undecided};

int number_of(const std::string& name, const Processor& processor) {
    const std::vector<std::string> found = isas_for(processor);
    const int n = static_cast<int>(found.size());
    std::string names;
    for (int i = 0; i < n; ++i) {
        const std::string& isa = found[static_cast<std::size_t>(i)];
        if (name == isa) {
            return i;
        }
        names += (i > 0 ? ", " : "") + isa;
    }
    if (name.empty()) {
        return n - 1;
    }
    throw std::invalid_argument("PIXFOLD_ISA: must be one of " + names + " on this machine, got '" + name + "'");
}

}  // namespace

std::vector<std::string> isas_for(const Processor& processor) {
    if (!processor.v2) {
        throw std::runtime_error("pixfold needs an x86-64-v2 processor (SSE4.2); this one has none");
    }
    const int runs = !processor.v3 ? 1 : !processor.v4 ? 2 : 3;
    return {isas, isas + (runs < n_isas ? runs : n_isas)};
}

std::string isa_for(const std::string& name, const Processor& processor) { return isas[number_of(name, processor)]; }

int isa_number() {
    int number = current.load(std::memory_order_relaxed);
    if (number == undecided) {
        const char* name = std::getenv("PIXFOLD_ISA");
        number = number_of(name != nullptr ? name : "", this_processor());
        current.store(number, std::memory_order_relaxed);
    }
    return number;
}

std::vector<std::string> available_isas() { return isas_for(this_processor()); }

std::string isa_in_use() { return isas[isa_number()]; }

void set_isa(const std::string& name) {
    if (name.empty()) {
        throw std::invalid_argument("set_isa: name must be one of those that isas() gives, got ''");
    }
    current.store(number_of(name, this_processor()), std::memory_order_relaxed);
}

}  // namespace pixfold
