//! The Hub's storage for Xet, in memory: takes packs of pieces with and without an upload grant, and shards, from which
//! it puts every file together before it knows it. What does not fit its hashes is refused.

#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Cursor,
};

use serde_json::{Value, json};
use xet_core_structures::{
    merklehash::{MerkleHash, compute_data_hash, file_hash, xorb_hash},
    metadata_shard::{file_structs::MDBFileInfo, streaming_shard::MDBMinimalShard},
    xorb_object::deserialize_chunk,
};

use crate::{
    http_server::{Answer, Request},
    hub_server::{TOKEN, sha256},
};

/// What every token of the storage begins with.
pub const TOKEN_PREFIX: &str = "xet_";

/// What the storage holds, and what it can do.
#[derive(Debug)]
pub struct XetStorage {
    /// Whether packs go to an address of their own.
    pub has_grants: bool,
    /// Whether shards are answered step by step.
    pub has_steps: bool,
    /// When tokens expire, in seconds of Unix time.
    pub expiry: u64,
    /// How many tokens were issued; they are numbered.
    pub tokens: usize,
    /// The pieces of every pack.
    packs: BTreeMap<String, Vec<Vec<u8>>>,
    /// Packs on their way, by the number of their grant.
    uploads: BTreeMap<String, Option<Vec<u8>>>,
    /// Shards by pieces that other files may share.
    shards: BTreeMap<String, Vec<u8>>,
}

impl Default for XetStorage {
    fn default() -> Self {
        Self {
            has_grants: true,
            has_steps: true,
            expiry: 9_999_999_999,
            tokens: 0,
            packs: BTreeMap::new(),
            uploads: BTreeMap::new(),
            shards: BTreeMap::new(),
        }
    }
}

/// What comes of a request.
pub enum Outcome {
    /// Nothing but the answer.
    Answer(Answer),
    /// A pack may go to an address of that number.
    Grant(String),
    /// Files are complete.
    Files(Vec<Vec<u8>>, Answer),
}

fn plain(status: u16, text: &str) -> Answer {
    Answer::of_bytes(status, text.as_bytes().to_vec())
}

impl XetStorage {
    /// Another token, as the Hub hands it out.
    pub fn issue(&mut self, storage: &str) -> Value {
        self.tokens += 1;
        json!({ "accessToken": format!("{TOKEN_PREFIX}{}", self.tokens), "exp": self.expiry, "casUrl": storage })
    }

    /// The bytes of a pack for a grant.
    pub fn receive(&mut self, number: &str, bytes: &[u8]) -> Answer {
        match self.uploads.get_mut(number) {
            Some(upload) => {
                *upload = Some(bytes.to_vec());
                plain(200, "")
            }
            None => plain(404, "unknown grant"),
        }
    }

    /// Answers a request of the storage itself.
    pub fn answer(&mut self, request: &Request) -> Outcome {
        let token =
            request.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let number = token.strip_prefix(TOKEN_PREFIX).and_then(|number| number.parse::<usize>().ok());
        if token == TOKEN || !number.is_some_and(|number| (1..=self.tokens).contains(&number)) {
            return Outcome::Answer(plain(401, "unauthorized"));
        }
        let words: Vec<&str> = request.path.split('/').collect();
        let answer = match (request.method.as_str(), &words[..]) {
            ("GET", ["v1", "chunks", _, piece]) => match self.shards.get(*piece) {
                Some(shard) => Answer::of_bytes(200, shard.clone()),
                None => plain(404, "unknown piece"),
            },
            ("POST", ["v1", "xorb-grants", _, hash]) if self.has_grants => {
                if self.packs.contains_key(*hash) {
                    plain(200, "")
                } else {
                    let number = self.uploads.len().to_string();
                    self.uploads.insert(number.clone(), None);
                    return Outcome::Grant(number);
                }
            }
            ("POST", ["v1", "xorb-commits", _, hash, "grant", number]) => {
                match self.uploads.get(*number).cloned().flatten() {
                    Some(bytes) => self.store(hash, &bytes),
                    None => plain(404, "nothing was uploaded"),
                }
            }
            ("POST", ["v1", "xorbs", _, hash]) => self.store(hash, &request.body),
            ("POST", ["v2", "shards"]) if self.has_steps => {
                return self.register(&request.body, "{\"type\":\"result\"}\n");
            }
            ("POST", ["v1", "shards"]) => return self.register(&request.body, "{\"result\":1}"),
            _ => plain(404, "not found"),
        };
        Outcome::Answer(answer)
    }

    /// Takes a pack whose pieces have its hash.
    fn store(&mut self, hash: &str, bytes: &[u8]) -> Answer {
        let mut reader = Cursor::new(bytes);
        let mut pieces = Vec::new();
        while reader.position() < bytes.len() as u64 {
            match deserialize_chunk(&mut reader) {
                Ok((piece, _, _)) => pieces.push(piece),
                Err(error) => return plain(400, &error.to_string()),
            }
        }
        if xorb_hash(&hashes(&pieces)).hex() != hash {
            return plain(400, "the pack has another hash");
        }
        let inserted = self.packs.insert(hash.to_owned(), pieces).is_none();
        plain(200, &json!({ "was_inserted": inserted }).to_string())
    }

    /// Takes a shard all of whose files can be put together.
    fn register(&mut self, bytes: &[u8], answer: &str) -> Outcome {
        let refused = |text: String| Outcome::Answer(plain(400, &text));
        let shard = match MDBMinimalShard::from_reader(&mut Cursor::new(bytes), true, true) {
            Ok(shard) => shard,
            Err(error) => return refused(error.to_string()),
        };
        let mut files = Vec::new();
        for view in (0..shard.num_files()).filter_map(|index| shard.file(index)) {
            match self.file(&MDBFileInfo::from(view)) {
                Ok(file) => files.push(file),
                Err(what) => return refused(what.to_owned()),
            }
        }
        let mut complete = Vec::new();
        shard.serialize(&mut complete, true, None).expect("memory can be written");
        let pieces: BTreeSet<String> = shard.global_dedup_eligible_chunks().iter().map(MerkleHash::hex).collect();
        self.shards.extend(pieces.into_iter().map(|piece| (piece, complete.clone())));
        Outcome::Files(files, plain(200, answer))
    }

    /// The bytes of a file, which are those of its sha256.
    fn file(&self, info: &MDBFileInfo) -> Result<Vec<u8>, &'static str> {
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for segment in &info.segments {
            let range = segment.chunk_index_start as usize..segment.chunk_index_end as usize;
            let part =
                self.packs.get(&segment.xorb_hash.hex()).and_then(|pack| pack.get(range)).ok_or("a pack is missing")?;
            if part.iter().map(Vec::len).sum::<usize>() != segment.unpacked_segment_bytes as usize {
                return Err("a segment has another length");
            }
            pieces.extend_from_slice(part);
        }
        if file_hash(&hashes(&pieces)) != info.metadata.file_hash {
            return Err("a file has another hash");
        }
        let bytes = pieces.concat();
        let named = info.metadata_ext.as_ref().ok_or("a file without its sha256")?.sha256.hex();
        if sha256(&bytes) == named { Ok(bytes) } else { Err("a file has another sha256") }
    }
}

fn hashes(pieces: &[Vec<u8>]) -> Vec<(MerkleHash, u64)> {
    pieces.iter().map(|piece| (compute_data_hash(piece), piece.len() as u64)).collect()
}
