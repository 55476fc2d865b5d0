//! The content-addressed store on disk.
