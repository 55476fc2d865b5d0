//! Writing and reading bundles. Pure: what is written is handed out as bytes and layouts, what is read comes in as bytes.

pub mod coreml;
