//! Planning and carrying out a fetch.
