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

std::vector<const Kernels*> tables_for(const Processor& processor) {
    if (!processor.v2) {
        throw std::runtime_error("pixfold needs an x86-64-v2 processor (SSE4.2); this one has none");
    }
    std::vector<const Kernels*> tables{&baseline::table};
#ifdef PIXFOLD_HAS_X86
    if (processor.v3) {
        tables.push_back(&avx2::table);
        if (processor.v4) {
            tables.push_back(&avx512::table);
        }
    }
#endif
    return tables;
}

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

std::atomic<const Kernels*> current{nullptr};

}  // namespace

const Kernels& kernels_for(const std::string& name, const Processor& processor) {
    const std::vector<const Kernels*> tables = tables_for(processor);
    if (name.empty()) {
        return *tables.back();
    }
    std::string names;
    for (const Kernels* table : tables) {
        if (name == table->isa) {
            return *table;
        }
        names += names.empty() ? table->isa : std::string(", ") + table->isa;
    }
    throw std::invalid_argument("PIXFOLD_ISA: must be one of " + names + " on this machine, got '" + name + "'");
}

const Kernels& kernels() {
    const Kernels* table = current.load(std::memory_order_acquire);
    if (table == nullptr) {
        const char* name = std::getenv("PIXFOLD_ISA");
        table = &kernels_for(name != nullptr ? name : "", this_processor());
        current.store(table, std::memory_order_release);
    }
    return *table;
}

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Kernels* table : tables_for(this_processor())) {
        names.emplace_back(table->isa);
    }
    return names;
}

void set_isa(const std::string& name) {
    if (name.empty()) {
        throw std::invalid_argument("set_isa: name must be one of those that isas() gives, got ''");
    }
    current.store(&kernels_for(name, this_processor()), std::memory_order_release);
}

}  // namespace pixfold
