//! What every verb needs. Making one costs nothing: no file is touched and no thread started before it is used.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use tokio::runtime::{Builder, Runtime};

use super::{Error, Progress, Silent};
use crate::{
    remote::{self, Remote, RemoteError, RemoteOptions, RemoteUrl},
    store::Store,
};

/// The store, the way to remotes, and who watches.
#[derive(Debug)]
pub struct Context {
    store: Store,
    directory: PathBuf,
    remote_options: RemoteOptions,
    progress: Arc<dyn Progress>,
    runtime: OnceLock<Runtime>,
}

impl Context {
    /// The context of the store below `home`. Relative paths and addresses start at `directory`, which is absolute.
    ///
    /// # Errors
    /// When `home` is relative and there is no working directory.
    pub fn new(home: &Path, directory: PathBuf) -> Result<Self, Error> {
        let store = Store::open(home)?;
        let remote_options = RemoteOptions::default();
        Ok(Self { store, directory, remote_options, progress: Arc::new(Silent), runtime: OnceLock::new() })
    }

    /// Limits requests that run at once. CPU work has the threads of rayon's global pool, which belongs to the program.
    #[must_use]
    pub fn with_jobs(mut self, jobs: NonZeroUsize) -> Self {
        self.remote_options.jobs = jobs.get();
        self
    }

    /// Talks to remotes with these options.
    #[must_use]
    pub fn with_remote_options(mut self, options: RemoteOptions) -> Self {
        self.remote_options = options;
        self
    }

    /// Lets `progress` watch.
    #[must_use]
    pub fn with_progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where relative paths and addresses start.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How remotes are talked to.
    pub fn remote_options(&self) -> &RemoteOptions {
        &self.remote_options
    }

    /// Who watches.
    pub fn progress(&self) -> &Arc<dyn Progress> {
        &self.progress
    }

    /// Opens a remote. Nothing is asked of it yet.
    ///
    /// # Errors
    /// Where its client cannot be set up.
    pub fn remote(&self, url: &RemoteUrl) -> Result<Arc<dyn Remote>, RemoteError> {
        remote::open(url, &self.remote_options)
    }

    /// Opens a remote to publish releases. Nothing is asked of it yet.
    ///
    /// # Errors
    /// Where its client cannot be set up.
    pub fn remote_to_publish(&self, url: &RemoteUrl) -> Result<Arc<dyn Remote>, RemoteError> {
        remote::open_to_publish(url, &self.remote_options)
    }

    /// The remotes to which the options permit requests: not the Hub where its clients are told to stay offline.
    pub(super) fn reachable<'a>(&self, urls: impl IntoIterator<Item = &'a RemoteUrl>) -> Vec<RemoteUrl> {
        urls.into_iter().filter(|url| url.is_reachable(&self.remote_options)).cloned().collect()
    }

    /// Runs a future to its end, on a runtime that the first call starts.
    ///
    /// # Errors
    /// When the system gives no threads for a runtime.
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        if self.runtime.get().is_none() {
            let runtime = Builder::new_multi_thread().thread_name("mlreg-io").enable_all().build();
            // Two first calls at once make two runtimes; the second is dropped, which nobody notices.
            let _ = self.runtime.set(runtime.map_err(|source| Error::Runtime { source })?);
        }
        let runtime = self.runtime.get().expect("it was set above");
        Ok(runtime.block_on(future))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_context_touches_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let context = Context::new(&home, folder.path().to_owned()).unwrap();
        assert_eq!(context.block_on(async { 7 }).unwrap(), 7);
        assert_eq!(context.store().home(), home);
        assert!(!home.exists());
    }
}
