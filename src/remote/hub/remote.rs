//! The scheme `hf://`, and the repository as a [`Remote`].

use std::{collections::BTreeSet, ffi::OsString, sync::Arc};

use semver::Version;

use super::repository::HubRemote;
use crate::{
    base::{ByteRange, Digest, HubUrl, PackageName, UrlError, redacted},
    manifest::release::Release,
    remote::{
        Access, Address, Answer, Collection, Commit, DocumentKey, IndexEntry, Object, ObjectVersion, Opened, Publication, PublicationParts,
        Remote, RemoteOptions, RemoteUrl, Scheme, Sent, Sink, read_only,
    },
};

/// Repositories of the Hub.
pub(in crate::remote) const SCHEME: Scheme = Scheme { names: &["hf"], forms: &["hf://ORG/REPO[@REVISION]"], writable: true, parse };

fn parse(text: &str) -> Result<RemoteUrl, UrlError> {
    let url = HubUrl::parse(text)?;
    if url.path().is_some() {
        let why = "a remote is a whole repository: hf://ORG/REPO[@REVISION]; `/` in a revision is `%2F`".to_owned();
        return Err(UrlError::Invalid { url: redacted(text), why });
    }
    Ok(RemoteUrl::new(url))
}

impl Address for HubUrl {
    fn identity(&self) -> OsString {
        self.to_string().into()
    }

    fn open(&self, options: &RemoteOptions, access: Access) -> Opened {
        Ok(Arc::new(HubRemote::new(self, options, access)?))
    }

    fn at(&self, revision: &str) -> Option<RemoteUrl> {
        self.revision().is_none().then(|| RemoteUrl::new(HubUrl::at(self, revision)))
    }

    fn is_reachable(&self, options: &RemoteOptions) -> bool {
        !options.hub.offline
    }
}

impl Remote for HubRemote {
    fn url(&self) -> &RemoteUrl {
        &self.url
    }

    fn packages(&self) -> Answer<'_, Vec<PackageName>> {
        Box::pin(self.package_names())
    }

    fn revision(&self) -> Option<String> {
        self.snapshot.get().map(|snapshot| snapshot.commit.as_str().to_owned())
    }

    fn versions<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<BTreeSet<Version>>> {
        Box::pin(self.published_versions(package))
    }

    fn resolve<'a>(&'a self, package: &'a PackageName, version: &'a Version) -> Answer<'a, Option<IndexEntry>> {
        Box::pin(self.resolved(package, version))
    }

    fn collection(&self) -> Answer<'_, Option<Arc<Collection>>> {
        Box::pin(self.known_collection())
    }

    fn release_of<'a>(&'a self, bundles: &'a BTreeSet<String>) -> Answer<'a, Vec<u8>> {
        Box::pin(self.collected_release(bundles))
    }

    fn release<'a>(&'a self, package: &'a PackageName, version: &'a Version, digest: &'a Digest) -> Answer<'a, Vec<u8>> {
        Box::pin(self.manifest(package, version, digest))
    }

    fn read<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(self.read_range(release, blob, range, range.end(), sink))
    }

    fn read_on<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, until: u64, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(self.read_range(release, blob, range, until, sink))
    }

    fn has_ranges(&self) -> bool {
        self.files.has_ranges()
    }

    fn document<'a>(&'a self, key: &'a DocumentKey) -> Answer<'a, Option<Object>> {
        Box::pin(self.read_document(key))
    }

    fn put_document<'a>(&'a self, key: &'a DocumentKey, bytes: &'a [u8], replaced: Option<&'a ObjectVersion>) -> Answer<'a, ()> {
        match self.access {
            Access::Read => read_only(&self.url),
            Access::Publish => Box::pin(self.store_document(key, bytes, replaced)),
        }
    }

    fn publication_parts(&self) -> PublicationParts {
        PublicationParts::ALL
    }

    fn missing<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Vec<Digest>> {
        match self.access {
            Access::Read => read_only(&self.url),
            Access::Publish => Box::pin(self.missing_blobs(publication)),
        }
    }

    fn put<'a>(&'a self, publication: &'a Publication, blob: &'a Digest, sent: Sent<'a>) -> Answer<'a, ()> {
        match self.access {
            Access::Read => read_only(&self.url),
            Access::Publish => Box::pin(self.put_blob(publication, blob, sent)),
        }
    }

    fn commit<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Commit> {
        match self.access {
            Access::Read => read_only(&self.url),
            Access::Publish => Box::pin(self.publish(publication)),
        }
    }
}
