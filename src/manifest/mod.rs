//! What people write (`package`) and what machines exchange (`release`): pure data, no IO.

pub mod release;
