// Which of the instruction sets that were built runs.
#pragma once

#include <string>
#include <vector>

namespace pixfold {

// Which levels of x86-64 a processor runs; any other processor runs portable code as v2.
struct Processor {
    bool v2 = true;
    bool v3 = false;
    bool v4 = false;
};

// The instruction sets that are built in and run on such a processor, best last. Throws std::runtime_error where there
// is none.
std::vector<std::string> isas_for(const Processor& processor);

// The name where such a processor runs that set, the best set for an empty name. Throws std::invalid_argument for a
// name that is unknown, not built or not run by the processor, std::runtime_error where it runs none.
std::string isa_for(const std::string& name, const Processor& processor);

// The same for this machine.
std::vector<std::string> available_isas();

// The best set that this machine runs, or the one that the environment variable PIXFOLD_ISA or set_isa names.
std::string isa_in_use();

// Throws std::invalid_argument for a name that is empty, unknown, not built or not run by this machine.
void set_isa(const std::string& name);

}  // namespace pixfold
