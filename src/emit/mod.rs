//! Writing and reading bundles.
