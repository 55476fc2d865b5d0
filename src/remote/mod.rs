//! Where releases are published to and fetched from.
