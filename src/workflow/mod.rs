//! One verb each: typed options in, typed report out.
