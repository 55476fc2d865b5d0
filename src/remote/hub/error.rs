//! What only the Hub can answer: who may do what, what is missing, what moved. Messages come from the answers'
//! `X-Error-Code`; none of them holds a token or a signed address.

use std::path::PathBuf;

use crate::remote::Retry;

/// The Hub refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// Repository is missing or not accessible; the Hub does not say which.
    #[error("`hf://{repository}` does not exist, or it is private and {}", if *with_token { "the token has no access \
         to it" } else { "there is no token" })]
    NoRepository {
        /// Its id.
        repository: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// A repository whose authors want to be asked first.
    #[error("`hf://{repository}` is gated{}", if *with_token { ": the token's owner has no access to it" } else { ", and there is no token" })]
    Gated {
        /// Its id.
        repository: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// A repository that the Hub has shut.
    #[error("access to `hf://{repository}` is disabled")]
    Disabled {
        /// Its id.
        repository: String,
    },
    /// No such branch, tag or commit.
    #[error("`hf://{repository}` has no revision `{revision}`")]
    NoRevision {
        /// Its id.
        repository: String,
        /// What was asked for.
        revision: String,
    },
    /// A token that the Hub does not know.
    #[error("the Hub does not accept the token: {message}")]
    InvalidToken {
        /// What the Hub says.
        message: String,
    },
    /// Writing without a token.
    #[error("publishing to `hf://{repository}` needs a token")]
    NoToken {
        /// Its id.
        repository: String,
    },
    /// A token without the right to do this.
    #[error("`{url}` answered 403: {message}")]
    Forbidden {
        /// What was asked.
        url: String,
        /// What the Hub says.
        message: String,
    },
    /// Any other refusal.
    #[error("`{url}` answered {status}: {message}")]
    Refused {
        /// What was asked.
        url: String,
        /// The status code.
        status: u16,
        /// What the Hub says, with the id of the request where it gave one.
        message: String,
    },
    /// Something of that name exists already.
    #[error("`{url}` answered 409: {message}")]
    Exists {
        /// What was asked.
        url: String,
        /// What the Hub says.
        message: String,
    },
    /// Rivals committed to the branch again and again.
    #[error("the branch `{branch}` of `hf://{repository}` moved while it was published to")]
    Moved {
        /// Its id.
        repository: String,
        /// The branch.
        branch: String,
    },
    /// An answer that is not what the protocol says.
    #[error("`{url}` answered with something else than expected: {what}")]
    Unexpected {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// Bytes of a small file that are not those of its commit.
    #[error("`{url}` has the git id {found}, expected {expected}")]
    WrongGitId {
        /// What was asked.
        url: String,
        /// The id that the commit names.
        expected: String,
        /// The id of the bytes that came.
        found: String,
    },
    /// A file of the Hub client's cache whose bytes are not those that its name says.
    #[error("`{}` in the cache of the Hub's client has the digest {found}, expected {expected}", path.display())]
    DamagedCache {
        /// The file.
        path: PathBuf,
        /// The digest that its name says: a sha256, or git's sha1.
        expected: String,
        /// The digest of its bytes.
        found: String,
    },
    /// A tag that belongs to other content.
    #[error("the tag `{tag}` of `hf://{repository}` exists and has no such release")]
    WrongTag {
        /// Its id.
        repository: String,
        /// The tag.
        tag: String,
    },
    /// A commit or tag is no place to publish to.
    #[error("`{revision}` of `hf://{repository}` is no branch")]
    NotABranch {
        /// Its id.
        repository: String,
        /// What the address names.
        revision: String,
    },
    /// An object that the Hub does not take.
    #[error("the Hub does not take sha256:{oid}: {message}")]
    Object {
        /// Its sha256.
        oid: String,
        /// What the Hub says.
        message: String,
    },
    /// An object that did not arrive at the Hub's storage, although hf-xet had tried again what may pass.
    #[error("cannot upload sha256:{oid} to `{url}` by Xet: {message}")]
    Xet {
        /// Its sha256.
        oid: String,
        /// The storage.
        url: String,
        /// What went wrong last.
        message: String,
    },
    /// The network is switched off for the Hub.
    #[error("`hf://{repository}` cannot be asked: the Hub is switched off by `HF_HUB_OFFLINE`")]
    Offline {
        /// Its id.
        repository: String,
    },
    /// `HF_ENDPOINT` is no address.
    #[error("the Hub's endpoint `{endpoint}` is not a valid http(s) address")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
}

impl HubError {
    /// Whether it helps to ask again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unexpected { .. } | Self::WrongGitId { .. } => Retry::Once,
            _ => Retry::Never,
        }
    }

    /// Whether the user rather than the Hub can do something about it.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::Offline { .. } | Self::Endpoint { .. } | Self::NotABranch { .. } | Self::NoToken { .. })
    }

    /// Whether bytes are not what their digest says.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::WrongGitId { .. } | Self::DamagedCache { .. })
    }

    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoRepository { with_token: true, .. } => "check the name, and that the token may read it".to_owned(),
            Self::NoRepository { with_token: false, .. } | Self::NoToken { .. } => {
                "log in with `hf auth login`, or set `HF_TOKEN`; then check the name".to_owned()
            }
            Self::Gated { repository, .. } => format!("ask for access at https://huggingface.co/{repository}, then set \
                 `HF_TOKEN`"),
            Self::InvalidToken { .. } => "log in anew with `hf auth login`, or correct `HF_TOKEN`".to_owned(),
            Self::Forbidden { .. } => "the token needs the right to write to this repository".to_owned(),
            Self::NoRevision { repository, .. } => format!("`mlreg list --from hf://{repository}` shows what its main \
                 branch has"),
            Self::Moved { .. } => "publish again; what was uploaded stays".to_owned(),
            Self::Xet { .. } => "publish again; `HF_HUB_DISABLE_XET=1` uploads by Git LFS instead".to_owned(),
            Self::NotABranch { .. } => "publish to a branch: hf://ORG/REPO or hf://ORG/REPO@BRANCH".to_owned(),
            Self::WrongTag { tag, .. } => format!("delete the tag `{tag}`, or raise the version of the package"),
            Self::Offline { .. } => "unset `HF_HUB_OFFLINE`, or fetch with `--offline` from the store".to_owned(),
            Self::WrongGitId { .. } => "the wrong bytes were discarded; try again, or without the proxy or mirror in \
                 between".to_owned(),
            Self::DamagedCache { .. } => {
                "delete the file, unset `HF_HUB_OFFLINE` and try again, or download it again with `hf download`".to_owned()
            }
            Self::Endpoint { .. } => "correct or unset `HF_ENDPOINT`".to_owned(),
            _ => return None,
        };
        Some(hint)
    }
}
