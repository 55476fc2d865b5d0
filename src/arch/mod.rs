//! Model architectures: from a checkpoint's tensors to programs.
