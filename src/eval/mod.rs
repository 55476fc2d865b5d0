//! Running programs on the CPU.
