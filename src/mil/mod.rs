//! The intermediate representation: Core ML's Model Intermediate Language (MIL), mirrored.
