//! Every operator, one file each.
