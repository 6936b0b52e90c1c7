#include "pixfold/dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace pixfold {

namespace baseline {
extern const Kernels table;
}
#ifdef PIXFOLD_HAS_X86
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}
#endif

namespace {

std::vector<const Kernels*> runnable() {
    std::vector<const Kernels*> tables;
#ifdef PIXFOLD_HAS_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.2")) {
        throw std::runtime_error("pixfold needs an x86-64-v2 processor (SSE4.2); this one has none");
    }
    tables.push_back(&baseline::table);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
        tables.push_back(&avx2::table);
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512vl")) {
            tables.push_back(&avx512::table);
        }
    }
#else
    tables.push_back(&baseline::table);
#endif
    return tables;
}

const Kernels* find(const std::string& name) {
    std::string names;
    for (const Kernels* table : runnable()) {
        if (name == table->isa) {
            return table;
        }
        names += names.empty() ? table->isa : std::string(", ") + table->isa;
    }
    throw std::invalid_argument("PIXFOLD_ISA: must be one of " + names + " on this machine, got '" + name + "'");
}

std::atomic<const Kernels*> current{nullptr};

}  // namespace

const Kernels& kernels() {
    const Kernels* table = current.load(std::memory_order_acquire);
    if (table == nullptr) {
        const char* name = std::getenv("PIXFOLD_ISA");
        table = name != nullptr && *name != '\0' ? find(name) : runnable().back();
        current.store(table, std::memory_order_release);
    }
    return *table;
}

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Kernels* table : runnable()) {
        names.emplace_back(table->isa);
    }
    return names;
}

void set_isa(const std::string& name) { current.store(find(name), std::memory_order_release); }

}  // namespace pixfold
