// Every file of cpu/ that holds kernels is compiled once per instruction set, each time into its own namespace.
// PIXFOLD_ISA is that namespace's name; the build defines it. Kernel files use no out-of-line library templates:
// the linker could pick a copy compiled for a newer machine for all of them.
#pragma once

#ifndef PIXFOLD_ISA
#error "PIXFOLD_ISA must be defined by the build"
#endif
