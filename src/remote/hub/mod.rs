//! Model repositories of the Hugging Face Hub: published to, and fetched from.
//!
//! | file | contents |
//! |---|---|
//! | `options`, `client`, `limits`, `error` | address and token, requests, redirects, rate limits, the meaning of refusals |
//! | `tree` | revisions, tags, the files of a commit |
//! | `download` | bytes of files, behind signed addresses |
//! | `layout` | paths of a release in a repository |
//! | `repository` | the state that reading and publishing share |
//! | `collection` | repositories that mlreg did not publish |
//! | `reading` | versions, manifests, ranges of blobs |
//! | `draft`, `attributes` | what a publication changes (pure) |
//! | `object`, `lfs`, `xet`, `commit`, `publish` | the uploads, commits and tags that change it |
//! | `documents` | side documents |
//! | `remote` | the scheme and the [`Remote`](super::Remote) |
//! | `checkout`, `cache` | files of a commit for others than fetches; the Hub client's cache |
//!
//! A revision is resolved to a commit once, and every file is read from a commit. Requests are made by this client
//! rather than by the crate `hf-hub`; ARCHITECTURE.md gives the reasons. Xet is used for uploads alone: every file can
//! be downloaded without it.

mod attributes;
mod cache;
mod checkout;
mod client;
mod collection;
mod commit;
mod documents;
mod download;
mod draft;
mod error;
mod layout;
mod lfs;
mod limits;
mod object;
mod options;
mod publish;
mod reading;
mod remote;
mod repository;
mod tree;
#[cfg(feature = "xet")]
mod xet;
#[cfg(not(feature = "xet"))]
#[path = "without_xet.rs"]
mod xet;

pub(super) use remote::SCHEME;

pub use checkout::HubCheckout;
pub use error::HubError;
pub use options::{HUB_ENDPOINT, HubOptions, HubToken};
