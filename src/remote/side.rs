//! Side documents: what is keyed by a release and is no part of its digest, e.g. where its blobs lie. A new kind is one
//! word in `kinds!`.

use semver::Version;

use super::{INDEX_LIMIT, ObjectVersion, RemoteError};
use crate::base::{Digest, PackageName, RelativePath};

/// Whether a document may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutRule {
    /// It never changes.
    Immutable,
    /// It may be replaced by whoever has read its current version.
    Replaceable,
}

/// Declares the kinds: a variant, its word, the longest document in bytes, and whether it may be replaced.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident: $word:literal, $limit:expr, $rule:ident;)+) => {
        /// A kind of side documents.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DocumentKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl DocumentKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// Its word in paths.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $word),+ }
            }

            /// The longest document that is read or put, in bytes.
            pub fn limit(self) -> u64 {
                match self { $(Self::$kind => $limit),+ }
            }

            /// Whether a document may be replaced.
            pub fn rule(self) -> PutRule {
                match self { $(Self::$kind => PutRule::$rule),+ }
            }
        }
    };
}

kinds! {
    /// Where the blobs of a release lie in a repository whose layout is not the default one.
    Locations: "locations", INDEX_LIMIT, Immutable;
    /// Measurements of a release, e.g. of `mlreg eval --json`; later measurements replace them.
    Quality: "quality", 4 << 20, Replaceable;
}

/// Identifies a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseId {
    /// The package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The sha256 of the release manifest.
    pub digest: Digest,
}

/// Identifies a side document: the release, the kind, and a name where the release has several documents of that kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentKey {
    release: ReleaseId,
    kind: DocumentKind,
    name: Option<RelativePath>,
}

impl DocumentKey {
    /// The only document of its kind.
    pub fn new(release: ReleaseId, kind: DocumentKind) -> Self {
        Self { release, kind, name: None }
    }

    /// One of several documents of its kind. `None` where `name` has folders.
    pub fn named(release: ReleaseId, kind: DocumentKind, name: RelativePath) -> Option<Self> {
        name.parent().is_none().then_some(Self { release, kind, name: Some(name) })
    }

    /// The release.
    pub fn release(&self) -> &ReleaseId {
        &self.release
    }

    /// The kind.
    pub fn kind(&self) -> DocumentKind {
        self.kind
    }

    /// The name, where the release may have several documents of this kind.
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(RelativePath::as_str)
    }

    /// Checks a put against the rules of the kind.
    ///
    /// # Errors
    /// [`RemoteError::TooLarge`], [`RemoteError::ImmutableDocument`].
    pub(super) fn check_put(
        &self,
        url: &str,
        bytes: &[u8],
        replaced: Option<&ObjectVersion>,
    ) -> Result<(), RemoteError> {
        if bytes.len() as u64 > self.kind.limit() {
            return Err(RemoteError::TooLarge { url: url.to_owned(), limit: self.kind.limit() });
        }
        if replaced.is_some() && self.kind.rule() == PutRule::Immutable {
            return Err(RemoteError::ImmutableDocument { url: url.to_owned(), kind: self.kind.name() });
        }
        Ok(())
    }
}
