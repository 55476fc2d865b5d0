//! Arguments, settings, output, exit codes.
