//! Planning and carrying out a publication.
