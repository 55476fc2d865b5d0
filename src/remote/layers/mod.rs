//! Wrappers around any remote that add one thing each.

mod limit;
mod retry;

pub use limit::LimitedRemote;
pub use retry::RetryingRemote;
