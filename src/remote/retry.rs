//! The one retry policy: exponential backoff with full jitter, the wait that a server asks for, and a longest wait.

use std::time::Duration;

use super::{RemoteError, RemoteOptions, Retry};

/// An attempt that delivered at least this many bytes was no failure: counting starts anew.
const PROGRESS: u64 = 256 << 10;
/// The backoff doubles at most this many times.
const DOUBLINGS: u32 = 20;

/// How often and after which waits a failed operation is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many failures in a row are followed by another attempt.
    pub retries: u32,
    /// Upper bound of the wait before the first retry; it doubles with every further failure.
    pub backoff: Duration,
    /// No wait is longer, whatever the server asks for.
    pub longest_wait: Duration,
}

impl RetryPolicy {
    /// The policy of the options.
    pub fn of(options: &RemoteOptions) -> Self {
        Self { retries: options.retries, backoff: options.backoff, longest_wait: options.longest_wait }
    }

    /// The same waits, with another number of retries.
    #[must_use]
    pub fn with_retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// Begins an operation: no attempt has failed yet.
    pub fn attempts(self) -> Attempts {
        Attempts { policy: self, failures: 0, damaged: false }
    }

    /// Calls `attempt` until it succeeds, or fails in a way that another attempt cannot mend.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub async fn repeat<T, F>(self, attempt: impl Fn() -> F) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<T, RemoteError>>,
    {
        let mut attempts = self.attempts();
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => attempts.wait_after(error).await?,
            }
        }
    }

    /// The wait before retry number `failures` (from 1). `asked` is the server's `Retry-After`; `jitter` lies in 0..=1.
    fn wait(&self, failures: u32, asked: Option<Duration>, jitter: f64) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << (failures - 1).min(DOUBLINGS)).min(self.longest_wait);
        let random = doubled.mul_f64(jitter);
        asked.map_or(random, |asked| asked.saturating_add(self.backoff.mul_f64(jitter))).min(self.longest_wait)
    }
}

/// The failed attempts of one operation.
#[derive(Debug)]
pub struct Attempts {
    policy: RetryPolicy,
    failures: u32,
    damaged: bool,
}

impl Attempts {
    /// Waits before the next attempt.
    ///
    /// # Errors
    /// `error` itself where another attempt would not help ([`RemoteError::retry`]) or all retries are used up.
    pub async fn wait_after(&mut self, error: RemoteError) -> Result<(), RemoteError> {
        let again = match error.retry() {
            Retry::Never => false,
            Retry::Once => !std::mem::replace(&mut self.damaged, true),
            Retry::Later => true,
        };
        if again { self.wait(error).await } else { Err(error) }
    }

    /// Waits after a rival was faster: another attempt begins with what the rival left.
    ///
    /// # Errors
    /// `error` itself where all retries are used up.
    pub async fn wait_after_conflict(&mut self, error: RemoteError) -> Result<(), RemoteError> {
        self.wait(error).await
    }

    async fn wait(&mut self, error: RemoteError) -> Result<(), RemoteError> {
        if self.failures >= self.policy.retries {
            return Err(error);
        }
        self.failures += 1;
        tokio::time::sleep(self.policy.wait(self.failures, error.retry_after(), fastrand::f64())).await;
        Ok(())
    }

    /// Notes that the last attempt delivered `bytes` before it failed. Enough of them reset the count of failures.
    pub fn delivered(&mut self, bytes: u64) {
        if bytes >= PROGRESS {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_bounded() {
        let policy =
            RetryPolicy { retries: 5, backoff: Duration::from_millis(100), longest_wait: Duration::from_secs(1) };
        let milliseconds = |failures, asked, jitter| policy.wait(failures, asked, jitter).as_millis();
        assert_eq!(milliseconds(1, None, 1.0), 100);
        assert_eq!(milliseconds(3, None, 1.0), 400);
        assert_eq!(milliseconds(3, None, 0.25), 100);
        assert_eq!(milliseconds(40, None, 1.0), 1000);
        assert_eq!(milliseconds(1, Some(Duration::from_millis(700)), 0.0), 700);
        assert_eq!(milliseconds(1, Some(Duration::MAX), 0.5), 1000);
    }
}
