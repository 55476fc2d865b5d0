//! A stand-in of the Hugging Face Hub on loopback for tests: repositories with commits, tags and parents, Git LFS with
//! parts, signed addresses on another host, rate limits, gates, and Xet where a test asks for it. It keeps everything
//! in memory and says what the Hub says.
//!
//! `hub`, `cdn` and `storage` are three servers, so that a token that goes to the wrong one shows in its log; all
//! misbehave on request.

#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    http_server::{Answer, Fault, HttpServer, Request, decode, parse_range},
    xet_server::{Outcome, TOKEN_PREFIX, XetStorage},
};

/// The token that may write everywhere.
pub const TOKEN: &str = "hf_write";
/// A token that may read what is not private.
pub const READ_TOKEN: &str = "hf_read";
/// What a new repository holds.
pub const ATTRIBUTES: &str = "*.bin filter=lfs diff=lfs merge=lfs -text\n*.mlmodel filter=lfs diff=lfs merge=lfs \
     -text\n*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.zip filter=lfs diff=lfs merge=lfs -text\n";
const INLINE_LIMIT: usize = 10 << 20;

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// In git.
    Git(Vec<u8>),
    /// A large object.
    Lfs { oid: String, size: u64 },
}

/// The files of a commit by path.
pub type Tree = BTreeMap<String, Stored>;

/// A commit.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Its id.
    pub id: String,
    /// The one before it.
    pub parent: Option<String>,
    /// Its first line.
    pub title: String,
    /// Its files.
    pub tree: Tree,
    /// How many changes it was made with.
    pub operations: usize,
}

/// A repository.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    /// Whether it can be seen with the right token alone.
    pub private: bool,
    /// Whether its authors want to be asked.
    pub gated: bool,
    /// Whether it is shut.
    pub disabled: bool,
    /// Every commit by id.
    pub commits: BTreeMap<String, Commit>,
    /// Heads by name.
    pub branches: BTreeMap<String, String>,
    /// Commits by name.
    pub tags: BTreeMap<String, String>,
}

impl Repository {
    /// The commit that a name means.
    pub fn resolve(&self, revision: &str) -> Option<&Commit> {
        let id = self.branches.get(revision).or_else(|| self.tags.get(revision)).map_or(revision, String::as_str);
        self.commits.get(id)
    }

    fn add(&mut self, branch: &str, title: &str, tree: Tree, operations: usize) -> String {
        let parent = self.branches.get(branch).cloned();
        let id = sha1(format!("{parent:?} {title} {tree:?}").as_bytes());
        self.commits.insert(id.clone(), Commit { id: id.clone(), parent, title: title.to_owned(), tree, operations });
        self.branches.insert(branch.to_owned(), id.clone());
        id
    }
}

/// What both servers know.
#[derive(Debug, Default)]
pub struct State {
    /// By `ORG/REPO`.
    pub repositories: BTreeMap<String, Repository>,
    /// Large objects by sha256.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// Uploads under way: parts by object and number.
    parts: BTreeMap<(String, u64), Vec<u8>>,
    /// Signed addresses by their signature, with how often they were used.
    signatures: BTreeMap<String, usize>,
    /// How often a signed address works.
    pub uses: Option<usize>,
    /// Objects longer than this go up in parts of that length.
    pub part_length: Option<usize>,
    /// Entries of one page of a listing.
    pub page: Option<usize>,
    /// Who commits something to `main` before the next commit arrives.
    pub rivals: usize,
    /// Where large objects go by Xet; none: they go by Git LFS.
    pub xet: Option<XetStorage>,
    /// What the Hub says is the address of that.
    pub storage: String,
    /// What pages of listings say is the address of the Hub.
    pub hub: String,
    cdn: String,
}

/// A running Hub.
pub struct HubServer {
    /// The API and the files' addresses.
    pub hub: HttpServer,
    /// The bytes of large files.
    pub cdn: HttpServer,
    /// The storage behind Xet.
    pub storage: HttpServer,
    state: Arc<Mutex<State>>,
}

/// sha256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    mlreg::base::Digest::of(bytes).to_string()
}

fn sha1(bytes: &[u8]) -> String {
    sha1_smol::Sha1::from(bytes).digest().to_string()
}

/// Git's name of a file.
pub fn git_id(bytes: &[u8]) -> String {
    sha1(&[format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat())
}

impl HubServer {
    /// Starts an empty Hub.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (for_hub, for_cdn, for_storage) = (state.clone(), state.clone(), state.clone());
        let hub = HttpServer::answering(Arc::new(move |request| answer_hub(&mut for_hub.lock().unwrap(), request)));
        let cdn = HttpServer::answering(Arc::new(move |request| answer_cdn(&mut for_cdn.lock().unwrap(), request)));
        let storage =
            HttpServer::answering(Arc::new(move |request| answer_storage(&mut for_storage.lock().unwrap(), request)));
        {
            let mut state = state.lock().unwrap();
            // Another name of the same machine, so that the host differs and not the port alone.
            let elsewhere = |server: &HttpServer| format!("http://localhost:{}", server.address().port());
            (state.hub, state.cdn, state.storage) =
                (format!("http://{}", hub.address()), elsewhere(&cdn), elsewhere(&storage));
        }
        Self { hub, cdn, storage, state }
    }

    /// Its `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        self.hub.url().trim_end_matches('/').to_owned()
    }

    /// What it holds.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Makes a repository with these files in one commit.
    pub fn with_files(&self, id: &str, files: &[(&str, &[u8])]) -> String {
        let mut state = self.state();
        let mut tree = Tree::from([(".gitattributes".to_owned(), Stored::Git(ATTRIBUTES.as_bytes().to_vec()))]);
        for (path, bytes) in files {
            let stored = if is_lfs(path, bytes.len(), ATTRIBUTES) {
                state.objects.insert(sha256(bytes), bytes.to_vec());
                Stored::Lfs { oid: sha256(bytes), size: bytes.len() as u64 }
            } else {
                Stored::Git(bytes.to_vec())
            };
            tree.insert((*path).to_owned(), stored);
        }
        state.repositories.entry(id.to_owned()).or_default().add("main", "files", tree, files.len())
    }

    /// The files of a revision, with their bytes.
    pub fn files(&self, id: &str, revision: &str) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let commit = state.repositories[id].resolve(revision).unwrap_or_else(|| panic!("{id} has no {revision}"));
        let bytes = |stored: &Stored| match stored {
            Stored::Git(bytes) => bytes.clone(),
            Stored::Lfs { oid, .. } => state.objects[oid].clone(),
        };
        commit.tree.iter().map(|(path, stored)| (path.clone(), bytes(stored))).collect()
    }

    /// The commits of `main`, oldest first.
    pub fn history(&self, id: &str) -> Vec<Commit> {
        let state = self.state();
        let mut commits = Vec::new();
        let mut next = state.repositories.get(id).and_then(|repository| repository.resolve("main"));
        while let Some(commit) = next {
            commits.push(commit.clone());
            next = commit.parent.as_ref().and_then(|parent| state.repositories[id].commits.get(parent));
        }
        commits.reverse();
        commits
    }

    /// Bytes of large objects that were uploaded.
    pub fn uploaded(&self) -> u64 {
        self.cdn.log().iter().filter(|request| request.method == "PUT").map(|request| request.body.len() as u64).sum()
    }

    /// Bytes of large objects that were uploaded by Xet.
    pub fn uploaded_by_xet(&self) -> u64 {
        let packs = |server: &HttpServer, part: &str| {
            let log = server.log().into_iter().filter(|request| request.path.starts_with(part));
            log.map(|request| request.body.len() as u64).sum::<u64>()
        };
        packs(&self.cdn, "pack/") + packs(&self.storage, "v1/xorbs/")
    }

    /// Every request with a token that another server than its own got.
    pub fn leaks(&self) -> Vec<Request> {
        let with = |server: &HttpServer, part: &str| {
            let has = |request: &Request| {
                format!("{request:?}").contains(part) || String::from_utf8_lossy(&request.body).contains(part)
            };
            server.log().into_iter().filter(has).collect::<Vec<_>>()
        };
        let to_cdn = self.cdn.log().into_iter().filter(|request| request.headers.contains_key("authorization"));
        to_cdn.chain(with(&self.storage, TOKEN)).chain(with(&self.hub, TOKEN_PREFIX)).collect()
    }

    /// A fault of all servers.
    pub fn fault(&self, part: &str, requests: std::ops::Range<usize>, fault: Fault) {
        self.hub.fault(part, requests.clone(), fault.clone());
        self.cdn.fault(part, requests.clone(), fault.clone());
        self.storage.fault(part, requests, fault);
    }
}

/// The Hub's rule as far as the default attributes and the length go.
fn is_lfs(path: &str, size: usize, attributes: &str) -> bool {
    let ending = path.rsplit('.').next().unwrap_or("");
    let ruled = attributes.lines().any(|line| line.starts_with(&format!("*.{ending} ")) && line.contains("filter=lfs"));
    size > 0 && (ruled || size > INLINE_LIMIT)
}

fn json_answer(status: u16, value: &Value) -> Answer {
    let mut answer = Answer::of_bytes(status, value.to_string().into_bytes());
    answer.headers.insert("content-type".to_owned(), "application/json".to_owned());
    answer
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let mut answer = json_answer(status, &json!({ "error": message }));
    if !code.is_empty() {
        answer.headers.insert("x-error-code".to_owned(), code.to_owned());
    }
    answer.headers.insert("x-error-message".to_owned(), message.to_owned());
    answer
}

/// A request of one repository.
struct Call<'a> {
    request: &'a Request,
    id: String,
    /// What stands behind the repository, every segment decoded.
    rest: Vec<String>,
}

fn answer_hub(state: &mut State, request: &Request) -> Answer {
    let mut answer = routed(state, request);
    answer.headers.insert("x-request-id".to_owned(), "test-request".to_owned());
    answer.headers.entry("ratelimit".to_owned()).or_insert_with(|| "\"api\";r=499;t=299".to_owned());
    answer
}

fn token_of(request: &Request) -> Option<&str> {
    request.headers.get("authorization")?.strip_prefix("Bearer ")
}

fn routed(state: &mut State, request: &Request) -> Answer {
    let path = request.target.split('?').next().unwrap_or("");
    let segments: Vec<String> = path.trim_start_matches('/').split('/').map(decode).collect();
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    if token_of(request).is_some_and(|token| token != TOKEN && token != READ_TOKEN) {
        return refusal(401, "", "Invalid credentials in Authorization header");
    }
    let call = |id: String, rest: &[String]| Call { request, id, rest: rest.to_vec() };
    match words[..] {
        ["api", "whoami-v2"] if token_of(request).is_some() => {
            json_answer(200, &json!({ "name": "acme", "type": "user", "orgs": [] }))
        }
        ["api", "whoami-v2"] => refusal(401, "", "Unauthorized"),
        ["api", "validate-yaml"] => json_answer(200, &json!({ "errors": [], "warnings": [] })),
        ["api", "repos", "create"] => create(state, request),
        ["api", "models", organization, name, ..] => {
            let call = call(format!("{organization}/{name}"), &segments[4..]);
            guarded(state, &call).unwrap_or_else(|| api(state, &call))
        }
        ["api", "resolve-cache", "models", organization, name, commit, ..] => {
            let call = call(format!("{organization}/{name}"), &segments[5..]);
            guarded(state, &call).unwrap_or_else(|| small_file(state, &call, commit))
        }
        [organization, name, "resolve", ..] => {
            let call = call(format!("{organization}/{name}"), &segments[3..]);
            guarded(state, &call).unwrap_or_else(|| resolve(state, &call))
        }
        [organization, name, "info", "lfs", "objects", "batch"] => {
            let call = call(format!("{organization}/{}", name.trim_end_matches(".git")), &[]);
            guarded(state, &call).unwrap_or_else(|| batch(state, &call))
        }
        ["lfs", "verify"] if token_of(request) == Some(TOKEN) => verify(state, request),
        _ => refusal(404, "", "Not found"),
    }
}

/// What stands between this caller and a repository.
fn guarded(state: &State, call: &Call<'_>) -> Option<Answer> {
    let token = token_of(call.request);
    let unseen = || match token {
        None => refusal(401, "RepoNotFound", "Invalid username or password."),
        Some(_) => refusal(404, "RepoNotFound", "Repository not found"),
    };
    let Some(repository) = state.repositories.get(&call.id) else { return Some(unseen()) };
    if repository.disabled {
        return Some(refusal(403, "", "Access to this resource is disabled."));
    }
    if repository.private && token != Some(TOKEN) {
        return Some(unseen());
    }
    let is_file = call.request.target.contains("/resolve");
    if repository.gated && is_file && token != Some(TOKEN) {
        let status = if token.is_none() { 401 } else { 403 };
        return Some(refusal(status, "GatedRepo", "Access to this model is restricted."));
    }
    if call.request.method == "POST" && !call.request.target.contains("paths-info") {
        return match token {
            None => Some(refusal(401, "", "Unauthorized")),
            Some(TOKEN) => None,
            Some(_) => Some(refusal(403, "", "Forbidden: you need the write role")),
        };
    }
    None
}

fn create(state: &mut State, request: &Request) -> Answer {
    match token_of(request) {
        Some(TOKEN) => {}
        Some(_) => return refusal(403, "", "Forbidden: you need the write role"),
        None => return refusal(401, "", "Unauthorized"),
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let organization = body["organization"].as_str().unwrap_or("acme");
    let id = format!("{organization}/{}", body["name"].as_str().unwrap_or_default());
    let url = json!({ "url": format!("{}/{id}", state.hub) });
    if state.repositories.contains_key(&id) {
        return json_answer(409, &json!({ "error": "You already created this model repo", "url": url["url"] }));
    }
    let mut repository = Repository { private: body["private"].as_bool().unwrap_or(false), ..Repository::default() };
    let tree = Tree::from([(".gitattributes".to_owned(), Stored::Git(ATTRIBUTES.as_bytes().to_vec()))]);
    repository.add("main", "initial commit", tree, 1);
    state.repositories.insert(id, repository);
    json_answer(200, &url)
}

fn api(state: &mut State, call: &Call<'_>) -> Answer {
    let rest: Vec<&str> = call.rest.iter().map(String::as_str).collect();
    match (call.request.method.as_str(), &rest[..]) {
        ("GET", []) => model(state, call, "main"),
        ("GET", ["revision", revision]) => model(state, call, revision),
        ("GET", ["refs"]) => refs(state, call),
        ("GET", ["commits", revision]) => commits(state, call, revision),
        ("GET", ["xet-write-token", revision]) => storage_token(state, call, revision),
        ("GET", ["tree", revision, folder @ ..]) => tree(state, call, revision, &folder.join("/")),
        ("POST", ["paths-info", revision]) => paths_info(state, call, revision),
        ("POST", ["preupload", revision]) => preupload(state, call, revision),
        ("POST", ["commit", branch]) => commit(state, call, branch),
        ("POST", ["tag", revision]) => tag(state, call, revision),
        _ => refusal(404, "", "Not found"),
    }
}

fn no_revision(revision: &str) -> Answer {
    refusal(404, "RevisionNotFound", &format!("Invalid rev id: {revision}"))
}

fn model(state: &State, call: &Call<'_>, revision: &str) -> Answer {
    let repository = &state.repositories[&call.id];
    let Some(commit) = repository.resolve(revision) else { return no_revision(revision) };
    let siblings: Vec<Value> = commit.tree.keys().map(|path| json!({ "rfilename": path })).collect();
    json_answer(
        200,
        &json!({
            "id": call.id, "modelId": call.id, "sha": commit.id, "private": repository.private, "gated": repository.gated, "disabled": false,
            "siblings": siblings, "tags": [], "downloads": 0, "likes": 0,
        }),
    )
}

fn refs(state: &State, call: &Call<'_>) -> Answer {
    let repository = &state.repositories[&call.id];
    let list = |names: &BTreeMap<String, String>, kind: &str| -> Vec<Value> {
        names
            .iter()
            .map(|(name, id)| json!({ "name": name, "ref": format!("refs/{kind}/{name}"), "targetCommit": id }))
            .collect()
    };
    json_answer(
        200,
        &json!({ "branches": list(&repository.branches, "heads"), "tags": list(&repository.tags, "tags"), "converts": [] }),
    )
}

fn commits(state: &State, call: &Call<'_>, revision: &str) -> Answer {
    let repository = &state.repositories[&call.id];
    let Some(mut commit) = repository.resolve(revision) else { return no_revision(revision) };
    let mut listed = Vec::new();
    loop {
        listed.push(json!({ "id": commit.id, "title": commit.title, "message": "", "authors": [], "date": "2026-01-01T00:00:00.000Z" }));
        match commit.parent.as_ref().and_then(|parent| repository.commits.get(parent)) {
            Some(parent) => commit = parent,
            None => return json_answer(200, &Value::Array(listed)),
        }
    }
}

fn entry(path: &str, stored: &Stored) -> Value {
    match stored {
        Stored::Git(bytes) => json!({ "type": "file", "path": path, "size": bytes.len(), "oid": git_id(bytes) }),
        Stored::Lfs { oid, size } => {
            let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n");
            let lfs = json!({ "oid": oid, "size": size, "pointerSize": pointer.len() });
            json!({ "type": "file", "path": path, "size": size, "oid": git_id(pointer.as_bytes()), "lfs": lfs })
        }
    }
}

fn query<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    let pairs = request.query.as_deref().unwrap_or("").split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()
}

fn tree(state: &State, call: &Call<'_>, revision: &str, folder: &str) -> Answer {
    let Some(commit) = state.repositories[&call.id].resolve(revision) else { return no_revision(revision) };
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let recursive = query(call.request, "recursive").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let (mut entries, mut folders) = (Vec::new(), BTreeSet::new());
    for (path, stored) in commit.tree.iter().filter(|(path, _)| path.starts_with(&prefix)) {
        let below = &path[prefix.len()..];
        for (at, _) in below.match_indices('/').take(if recursive { usize::MAX } else { 1 }) {
            let folder = format!("{prefix}{}", &below[..at]);
            if folders.insert(folder.clone()) {
                entries.push(json!({ "type": "directory", "path": folder, "size": 0, "oid": sha1(folder.as_bytes()) }));
            }
        }
        if recursive || !below.contains('/') {
            entries.push(entry(path, stored));
        }
    }
    if entries.is_empty() && !folder.is_empty() {
        return refusal(404, "EntryNotFound", &format!("{folder} does not exist on \"{revision}\""));
    }
    let page = state.page.unwrap_or(1000);
    let start: usize = query(call.request, "cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let shown = &entries[start.min(entries.len())..(start + page).min(entries.len())];
    let mut answer = json_answer(200, &json!(shown));
    if start + page < entries.len() {
        let path = call.request.target.split('?').next().unwrap_or("");
        let link =
            format!("<{}{path}?recursive={recursive}&expand=false&cursor={}>; rel=\"next\"", state.hub, start + page);
        answer.headers.insert("link".to_owned(), link);
    }
    answer
}

fn paths_info(state: &State, call: &Call<'_>, revision: &str) -> Answer {
    let Some(commit) = state.repositories[&call.id].resolve(revision) else { return no_revision(revision) };
    let body = String::from_utf8_lossy(&call.request.body).into_owned();
    let form =
        body.split('&').filter_map(|pair| pair.strip_prefix("paths=")).map(|path| decode(&path.replace('+', " ")));
    let json: Option<Value> = serde_json::from_str(&body).ok();
    let listed = json.and_then(|json| {
        Some(json["paths"].as_array()?.iter().filter_map(|path| path.as_str().map(str::to_owned)).collect())
    });
    let paths: Vec<String> = listed.unwrap_or_else(|| form.collect());
    let entries: Vec<Value> = paths.iter().filter_map(|path| Some(entry(path, commit.tree.get(path)?))).collect();
    json_answer(200, &Value::Array(entries))
}

fn attributes_of(commit: &Commit) -> String {
    match commit.tree.get(".gitattributes") {
        Some(Stored::Git(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

fn preupload(state: &State, call: &Call<'_>, revision: &str) -> Answer {
    let Some(commit) = state.repositories[&call.id].resolve(revision) else { return no_revision(revision) };
    let attributes = attributes_of(commit);
    let body: Value = serde_json::from_slice(&call.request.body).unwrap_or_default();
    let files = body["files"].as_array().cloned().unwrap_or_default();
    if files.len() > 256 {
        return refusal(400, "", "too many files");
    }
    let mut answers = Vec::new();
    for file in &files {
        let (Some(path), Some(size), Some(sample)) =
            (file["path"].as_str(), file["size"].as_u64(), file["sample"].as_str())
        else {
            return refusal(400, "", "path, size and sample are needed");
        };
        let Ok(sample) = STANDARD.decode(sample) else { return refusal(400, "", "sample is no base64") };
        if sample.len() as u64 != size.min(512) {
            return refusal(400, "", "the sample is the first 512 bytes");
        }
        let binary = sample.contains(&0);
        let mode =
            if is_lfs(path, size as usize, &attributes) || (binary && size > 1 << 20) { "lfs" } else { "regular" };
        answers.push(json!({ "path": path, "uploadMode": mode, "shouldIgnore": false }));
    }
    json_answer(200, &json!({ "files": answers }))
}

fn commit(state: &mut State, call: &Call<'_>, branch: &str) -> Answer {
    if state.rivals > 0 {
        state.rivals -= 1;
        let repository = state.repositories.get_mut(&call.id).unwrap();
        let mut tree = repository.resolve(branch).map(|commit| commit.tree.clone()).unwrap_or_default();
        tree.insert("rival.txt".to_owned(), Stored::Git(state.rivals.to_string().into_bytes()));
        repository.add(branch, "rival", tree, 1);
    }
    if call.request.headers.get("content-type").map(String::as_str) != Some("application/x-ndjson") {
        return refusal(400, "", "expected application/x-ndjson");
    }
    let lines: Result<Vec<Value>, _> = call
        .request
        .body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(serde_json::from_slice)
        .collect();
    let Ok(lines) = lines else { return refusal(400, "", "a line is no JSON") };
    let Some((header, operations)) = lines.split_first().filter(|(header, _)| header["key"] == "header") else {
        return refusal(400, "", "the first line is the header");
    };
    let repository = &state.repositories[&call.id];
    let Some(head) = repository.branches.get(branch) else { return no_revision(branch) };
    if header["value"]["parentCommit"].as_str().is_some_and(|parent| parent != head) {
        return refusal(412, "", "The branch has moved");
    }
    let base = &repository.commits[head];
    let attributes = attributes_of(base);
    let mut tree = base.tree.clone();
    for operation in operations {
        if let Err(answer) = apply(&mut tree, &state.objects, &attributes, operation) {
            return answer;
        }
    }
    let title = header["value"]["summary"].as_str().unwrap_or_default().to_owned();
    let repository = state.repositories.get_mut(&call.id).unwrap();
    let id = repository.add(branch, &title, tree, operations.len());
    json_answer(
        200,
        &json!({ "success": true, "commitOid": id, "commitUrl": format!("{}/{}/commit/{id}", state.hub, call.id) }),
    )
}

fn apply(
    tree: &mut Tree,
    objects: &BTreeMap<String, Vec<u8>>,
    attributes: &str,
    operation: &Value,
) -> Result<(), Answer> {
    let value = &operation["value"];
    let path = value["path"].as_str().ok_or_else(|| refusal(400, "", "a path is needed"))?.to_owned();
    match operation["key"].as_str() {
        Some("file") => {
            let content =
                STANDARD.decode(value["content"].as_str().unwrap_or("!")).map_err(|_| refusal(400, "", "no base64"))?;
            if content.len() > INLINE_LIMIT {
                return Err(refusal(400, "", "contains files larger than 10 MiB"));
            }
            if is_lfs(&path, content.len(), attributes) {
                return Err(refusal(400, "", &format!("{path} has to be uploaded with LFS")));
            }
            tree.insert(path, Stored::Git(content));
        }
        Some("lfsFile") => {
            let (oid, size) =
                (value["oid"].as_str().unwrap_or_default().to_owned(), value["size"].as_u64().unwrap_or(u64::MAX));
            if value["algo"] != "sha256" || objects.get(&oid).is_none_or(|bytes| bytes.len() as u64 != size) {
                return Err(refusal(400, "", &format!("LFS object {oid} was not uploaded")));
            }
            tree.insert(path, Stored::Lfs { oid, size });
        }
        Some("deletedFile") => {
            tree.remove(&path).ok_or_else(|| refusal(404, "EntryNotFound", &format!("{path} does not exist")))?;
        }
        Some("deletedFolder") => {
            let prefix = format!("{}/", path.trim_end_matches('/'));
            let before = tree.len();
            tree.retain(|path, _| !path.starts_with(&prefix));
            if tree.len() == before {
                return Err(refusal(404, "EntryNotFound", &format!("{path} does not exist")));
            }
        }
        _ => return Err(refusal(400, "", "unknown operation")),
    }
    Ok(())
}

fn tag(state: &mut State, call: &Call<'_>, revision: &str) -> Answer {
    let body: Value = serde_json::from_slice(&call.request.body).unwrap_or_default();
    let name = body["tag"].as_str().unwrap_or_default().to_owned();
    let repository = state.repositories.get_mut(&call.id).unwrap();
    let Some(id) = repository.resolve(revision).map(|commit| commit.id.clone()) else { return no_revision(revision) };
    if repository.tags.contains_key(&name) {
        return refusal(409, "", "Tag reference exists already");
    }
    repository.tags.insert(name, id);
    json_answer(200, &json!({}))
}

fn resolve(state: &mut State, call: &Call<'_>) -> Answer {
    let Some((revision, path)) = call.rest.split_first() else { return refusal(404, "", "Not found") };
    let path = path.join("/");
    let Some(commit) = state.repositories[&call.id].resolve(revision).cloned() else { return no_revision(revision) };
    let mut answer = match commit.tree.get(&path) {
        None => refusal(404, "EntryNotFound", "Entry not found"),
        Some(Stored::Lfs { oid, size }) => {
            let mut answer = Answer::of_bytes(302, b"Found. Redirecting".to_vec());
            answer.headers.insert("location".to_owned(), state.sign(&format!("blob/{oid}")));
            answer.headers.insert("x-linked-etag".to_owned(), format!("\"{oid}\""));
            answer.headers.insert("x-linked-size".to_owned(), size.to_string());
            answer
        }
        Some(Stored::Git(bytes)) => {
            let mut answer = Answer::of_bytes(307, b"Temporary Redirect".to_vec());
            let encoded: Vec<String> = path.split('/').map(percent).collect();
            let location = format!(
                "/api/resolve-cache/models/{}/{}/{}?etag={}",
                call.id,
                commit.id,
                encoded.join("/"),
                git_id(bytes)
            );
            answer.headers.insert("location".to_owned(), location);
            answer.headers.insert("x-linked-etag".to_owned(), format!("\"{}\"", git_id(bytes)));
            answer.headers.insert("x-linked-size".to_owned(), bytes.len().to_string());
            answer.headers.insert("etag".to_owned(), format!("\"{}\"", git_id(bytes)));
            answer
        }
    };
    answer.headers.insert("x-repo-commit".to_owned(), commit.id);
    answer.headers.insert("ratelimit".to_owned(), "\"resolvers\";r=2998;t=172".to_owned());
    answer
}

fn percent(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn small_file(state: &State, call: &Call<'_>, commit: &str) -> Answer {
    let path = call.rest[1..].join("/");
    match state.repositories[&call.id].resolve(commit).and_then(|commit| commit.tree.get(&path)) {
        Some(Stored::Git(bytes)) => {
            let mut answer = ranged(call.request, bytes);
            answer.headers.insert("etag".to_owned(), format!("\"{}\"", git_id(bytes)));
            answer.headers.insert("x-repo-commit".to_owned(), commit.to_owned());
            answer
        }
        _ => refusal(404, "EntryNotFound", "Entry not found"),
    }
}

fn ranged(request: &Request, bytes: &[u8]) -> Answer {
    let size = bytes.len() as u64;
    let mut answer = match request.headers.get("range").and_then(|value| parse_range(value, size)) {
        Some((first, last)) if first < size => {
            let mut answer = Answer::of_bytes(206, bytes[first as usize..=last as usize].to_vec());
            answer.headers.insert("content-range".to_owned(), format!("bytes {first}-{last}/{size}"));
            answer
        }
        Some(_) => {
            let mut answer = Answer::of_bytes(416, Vec::new());
            answer.headers.insert("content-range".to_owned(), format!("bytes */{size}"));
            answer
        }
        None => Answer::of_bytes(200, bytes.to_vec()),
    };
    answer.headers.insert("content-type".to_owned(), "application/octet-stream".to_owned());
    answer
}

impl State {
    /// An address of the other host that works for some requests.
    fn sign(&mut self, path: &str) -> String {
        let signature = format!("s{}", self.signatures.len());
        self.signatures.insert(signature.clone(), 0);
        format!("{}/{path}?X-Amz-Signature={signature}", self.cdn)
    }
}

fn batch(state: &mut State, call: &Call<'_>) -> Answer {
    let body: Value = serde_json::from_slice(&call.request.body).unwrap_or_default();
    let offers: Vec<&str> = body["transfers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if body["operation"] != "upload" || body["hash_algo"] != "sha256" || !offers.contains(&"basic") {
        return refusal(400, "", "unknown operation");
    }
    let objects = body["objects"].as_array().cloned().unwrap_or_default();
    if state.xet.is_some() && offers.contains(&"xet") {
        let href = format!(
            "{}/api/models/{}/xet-write-token/{}",
            state.hub,
            call.id,
            body["ref"]["name"].as_str().unwrap_or("main")
        );
        let answer = |object: &Value| match state.objects.contains_key(object["oid"].as_str().unwrap_or_default()) {
            true => object.clone(),
            false => json!({ "oid": object["oid"], "size": object["size"], "actions": { "upload": { "href": href } } }),
        };
        return json_answer(
            200,
            &json!({ "transfer": "xet", "objects": objects.iter().map(answer).collect::<Vec<_>>() }),
        );
    }
    let answers: Vec<Value> = objects.iter().map(|object| batched(state, object)).collect();
    json_answer(200, &json!({ "transfer": "basic", "objects": answers }))
}

fn storage_token(state: &mut State, call: &Call<'_>, revision: &str) -> Answer {
    if state.repositories[&call.id].resolve(revision).is_none() {
        return no_revision(revision);
    }
    match (token_of(call.request), &mut state.xet) {
        (_, None) => refusal(404, "", "Not found"),
        (Some(TOKEN), Some(xet)) => {
            let token = xet.issue(&state.storage);
            let mut answer = json_answer(200, &token);
            for (name, key) in
                [("x-xet-access-token", "accessToken"), ("x-xet-token-expiration", "exp"), ("x-xet-cas-url", "casUrl")]
            {
                answer.headers.insert(name.to_owned(), token[key].to_string().trim_matches('"').to_owned());
            }
            answer
        }
        _ => refusal(403, "", "Forbidden: you need the write role"),
    }
}

fn answer_storage(state: &mut State, request: &Request) -> Answer {
    let Some(xet) = &mut state.xet else { return refusal(404, "", "Not found") };
    match xet.answer(request) {
        Outcome::Answer(answer) => answer,
        Outcome::Grant(number) => {
            let url = state.sign(&format!("pack/{number}"));
            json_answer(201, &json!({ "id": number, "method": "PUT", "url": url, "headers": {} }))
        }
        Outcome::Files(files, answer) => {
            state.objects.extend(files.into_iter().map(|bytes| (sha256(&bytes), bytes)));
            answer
        }
    }
}

fn batched(state: &mut State, object: &Value) -> Value {
    let (oid, size) =
        (object["oid"].as_str().unwrap_or_default().to_owned(), object["size"].as_u64().unwrap_or_default());
    if state.objects.contains_key(&oid) {
        return json!({ "oid": oid, "size": size });
    }
    let verify = json!({ "href": format!("{}/lfs/verify", state.hub), "header": {} });
    let upload = match state.part_length.filter(|length| size > *length as u64) {
        None => json!({ "href": state.sign(&format!("upload/{oid}")) }),
        Some(length) => {
            let mut header = serde_json::Map::from_iter([("chunk_size".to_owned(), json!(length.to_string()))]);
            for number in 1..=size.div_ceil(length as u64) {
                header.insert(number.to_string(), json!(state.sign(&format!("part/{oid}/{number}"))));
            }
            json!({ "href": state.sign(&format!("complete/{oid}")), "header": header })
        }
    };
    json!({ "oid": oid, "size": size, "authenticated": true, "actions": { "upload": upload, "verify": verify } })
}

fn verify(state: &State, request: &Request) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let found = body["oid"].as_str().and_then(|oid| state.objects.get(oid)).map(|bytes| bytes.len() as u64);
    if found.is_some() && found == body["size"].as_u64() {
        json_answer(200, &json!({}))
    } else {
        refusal(404, "", "Object not found")
    }
}

fn answer_cdn(state: &mut State, request: &Request) -> Answer {
    let refused = |status: u16, code: &str| {
        Answer::of_bytes(status, format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>").into_bytes())
    };
    if request.headers.contains_key("authorization") {
        return refused(400, "InvalidArgument");
    }
    let limit = state.uses.unwrap_or(usize::MAX);
    match query(request, "X-Amz-Signature").and_then(|signature| state.signatures.get_mut(signature)) {
        Some(uses) if *uses < limit => *uses += 1,
        _ => return refused(403, "AccessDenied"),
    }
    let words: Vec<&str> = request.path.split('/').collect();
    match (request.method.as_str(), &words[..]) {
        ("GET" | "HEAD", ["blob", oid]) => match state.objects.get(*oid) {
            Some(bytes) => {
                let mut answer = ranged(request, bytes);
                answer.headers.insert("etag".to_owned(), format!("\"cdn-{}\"", &oid[..8]));
                answer
            }
            None => refused(404, "NoSuchKey"),
        },
        ("PUT", ["pack", number]) => match &mut state.xet {
            Some(xet) => xet.receive(number, &request.body),
            None => refused(404, "NoSuchKey"),
        },
        ("PUT", ["upload", oid]) => {
            stored(state, oid, request.body.clone()).unwrap_or_else(|| refused(400, "BadDigest"))
        }
        ("PUT", ["part", oid, number]) => {
            let etag = format!("\"part-{number}-{}\"", &sha256(&request.body)[..8]);
            state.parts.insert(((*oid).to_owned(), number.parse().unwrap_or(0)), request.body.clone());
            let mut answer = Answer::of_bytes(200, Vec::new());
            answer.headers.insert("etag".to_owned(), etag);
            answer
        }
        ("POST", ["complete", oid]) => complete(state, oid, request).unwrap_or_else(|| refused(400, "InvalidPart")),
        _ => refused(404, "NoSuchKey"),
    }
}

/// Takes an object whose bytes are those of its name.
fn stored(state: &mut State, oid: &str, bytes: Vec<u8>) -> Option<Answer> {
    if sha256(&bytes) != oid {
        return None;
    }
    state.objects.insert(oid.to_owned(), bytes);
    Some(Answer::of_bytes(200, Vec::new()))
}

fn complete(state: &mut State, oid: &str, request: &Request) -> Option<Answer> {
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    let mut bytes = Vec::new();
    for (index, part) in body["parts"].as_array()?.iter().enumerate() {
        let number = part["partNumber"].as_u64().filter(|number| *number == index as u64 + 1)?;
        let content = state.parts.get(&(oid.to_owned(), number))?;
        let expected = format!("\"part-{number}-{}\"", &sha256(content)[..8]);
        (part["etag"].as_str() == Some(&expected)).then_some(())?;
        bytes.extend_from_slice(content);
    }
    stored(state, oid, bytes)
}
