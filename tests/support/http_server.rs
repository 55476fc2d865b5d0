//! A static HTTP/1.1 server on loopback for tests: serves a folder with ranges, counts what it sends, and misbehaves on
//! request.
//!
//! Threads and `std::net` alone, so that nothing of the client's stack hides its own faults. Faults are rules on paths
//! and request numbers; all rules that match a request apply to its answer together.
//!
//! ```ignore
//! let server = HttpServer::start(folder.path());
//! server.fault("blobs/", ..1, Fault::CloseAfter(1000));                       // the first request of a blob breaks off
//! server.fault("index.json", .., Fault::status(503).with("retry-after", "1")); // every request of an index
//! server.throttle(Some(1 << 20));
//! server.on_bytes(|_path, total| { if total > 5_000_000 { /* kill the client */ } });
//! ```

#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    ops::{Bound, RangeBounds},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Bytes written in one step; between steps come throttle, hook and faults.
const STEP: usize = 16 << 10;

/// One way to misbehave.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection closes without an answer.
    Hangup,
    /// The connection stays open without an answer.
    Silence,
    /// Another status, without a body; see [`Fault::with`] for its headers.
    Status(u16, Vec<(String, String)>),
    /// The connection closes after so many bytes of the body.
    CloseAfter(u64),
    /// Nothing more comes after so many bytes of the body, until the server stops.
    StallAfter(u64),
    /// A header is set to this value, whatever the server would say.
    Header(&'static str, String),
    /// A header is left out. Without `content-length` the body ends with the connection.
    WithoutHeader(&'static str),
    /// The body comes in chunks, without a length.
    Chunked,
    /// A page for people, with status 200.
    HtmlPage,
    /// `Range` is ignored: the whole file with status 200.
    IgnoreRange,
    /// So many bytes more than announced.
    ExtraBytes(usize),
    /// The first byte of the body is another one.
    Corrupt,
    /// The request is carried out, and the connection closes without an answer.
    LoseAnswer,
}

impl Fault {
    /// A status without a body.
    pub fn status(code: u16) -> Self {
        Self::Status(code, Vec::new())
    }

    /// A redirect.
    pub fn redirect(location: impl Into<String>) -> Self {
        Self::status(302).with("location", location)
    }

    /// Another ETag than the file's own.
    pub fn etag(value: &str) -> Self {
        Self::Header("etag", format!("\"{value}\""))
    }

    /// Adds a header to a status.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        match &mut self {
            Self::Status(_, headers) => headers.push((name.to_owned(), value.into())),
            other => panic!("{other:?} has no headers of its own"),
        }
        self
    }
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// Decoded path without the leading `/`.
    pub path: String,
    /// What stood behind `?`.
    pub query: Option<String>,
    /// The target as it came, undecoded.
    pub target: String,
    /// Headers with lower-case names.
    pub headers: BTreeMap<String, String>,
    /// What came with it.
    pub body: Vec<u8>,
}

struct Rule {
    part: String,
    requests: (Bound<usize>, Bound<usize>),
    fault: Fault,
    seen: usize,
}

/// Answers requests instead of a folder.
pub type Handler = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;
type Hook = Arc<dyn Fn(&str, u64) + Send + Sync>;

#[derive(Default)]
struct Shared {
    root: PathBuf,
    handler: Option<Handler>,
    stopping: AtomicBool,
    rules: Mutex<Vec<Rule>>,
    log: Mutex<Vec<Request>>,
    bytes: Mutex<BTreeMap<String, u64>>,
    total: AtomicU64,
    /// Bytes per second of one connection; 0: unlimited.
    throttle: AtomicU64,
    hook: Mutex<Option<Hook>>,
    connections: Mutex<Vec<TcpStream>>,
    running: AtomicUsize,
    peak: AtomicUsize,
}

/// A running server; it stops when dropped.
pub struct HttpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Serves `root` on a free port of 127.0.0.1.
    pub fn start(root: &Path) -> Self {
        Self::start_with(Shared { root: root.to_owned(), ..Shared::default() })
    }

    /// Lets `handler` answer on a free port of 127.0.0.1; faults, counts and throttle are the same.
    pub fn answering(handler: Handler) -> Self {
        Self::start_with(Shared { handler: Some(handler), ..Shared::default() })
    }

    fn start_with(shared: Shared) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(shared);
        let accepting = thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// `http://127.0.0.1:<port>/`.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests whose path contains `part` with a fault, where their number (of those that the rule saw, from
    /// 0) is in `requests`.
    pub fn fault(&self, part: &str, requests: impl RangeBounds<usize>, fault: Fault) {
        let requests = (requests.start_bound().cloned(), requests.end_bound().cloned());
        self.shared.rules.lock().unwrap().push(Rule { part: part.to_owned(), requests, fault, seen: 0 });
    }

    /// Behaves again.
    pub fn clear_faults(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// Limits the body bytes per second of every connection.
    pub fn throttle(&self, bytes_per_second: Option<u64>) {
        self.shared.throttle.store(bytes_per_second.unwrap_or(0), Ordering::Relaxed);
    }

    /// Calls `hook` with the path and the total of body bytes, before every step of at most 16 KiB is written; the
    /// total has it in it.
    pub fn on_bytes(&self, hook: impl Fn(&str, u64) + Send + Sync + 'static) {
        *self.shared.hook.lock().unwrap() = Some(Arc::new(hook));
    }

    /// Every request so far, in order of arrival.
    pub fn log(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap().clone()
    }

    /// How many requests had `part` in their path.
    pub fn requests(&self, part: &str) -> usize {
        self.shared.log.lock().unwrap().iter().filter(|request| request.path.contains(part)).count()
    }

    /// How many body bytes were written, or tried to, for paths with `part` in them.
    pub fn bytes(&self, part: &str) -> u64 {
        self.shared.bytes.lock().unwrap().iter().filter(|(path, _)| path.contains(part)).map(|(_, count)| count).sum()
    }

    /// The most requests that were answered at the same time.
    pub fn peak(&self) -> usize {
        self.shared.peak.load(Ordering::Relaxed)
    }

    /// Forgets requests, bytes and peak.
    pub fn reset_counts(&self) {
        self.shared.log.lock().unwrap().clear();
        self.shared.bytes.lock().unwrap().clear();
        self.shared.total.store(0, Ordering::Relaxed);
        self.shared.peak.store(0, Ordering::Relaxed);
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, which then sees that it should stop.
        let _ = TcpStream::connect(self.address);
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if let Ok(copy) = stream.try_clone() {
            shared.connections.lock().unwrap().push(copy);
        }
        let shared = shared.clone();
        // A client that goes away is no fault of the server.
        thread::spawn(move || drop(serve(stream, &shared)));
    }
}

/// Answers requests until one side closes.
fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(64 << 10, Throttled { stream: stream.try_clone()?, shared });
    let mut connection = Connection { stream, shared, running: None };
    while let Some(request) = read_request(&mut reader)? {
        let faults = shared.matching_faults(&request);
        shared.log.lock().unwrap().push(request.clone());
        connection.running = Some(Running::new(shared));
        let stays = connection.answer(&request, &faults)?;
        connection.running = None;
        if !stays {
            break;
        }
    }
    connection.stream.shutdown(Shutdown::Both)
}

/// What a client sends, which is read no faster than the throttle allows.
struct Throttled<'a> {
    stream: TcpStream,
    shared: &'a Shared,
}

impl Read for Throttled<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.shared.wait_for(count);
        Ok(count)
    }
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let body = read_body(reader, &headers)?;
    let (path, query) =
        target.split_once('?').map_or((target.as_str(), None), |(path, query)| (path, Some(query.to_owned())));
    Ok(Some(Request { method, path: decode(path.trim_start_matches('/')), query, target, headers, body }))
}

fn read_body(reader: &mut impl BufRead, headers: &BTreeMap<String, String>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|value| value == "chunked") {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let length = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            reader.by_ref().take(length).read_to_end(&mut body)?;
            reader.read_line(&mut line)?;
            if length == 0 {
                return Ok(body);
            }
        }
    }
    let length: u64 = headers.get("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut body)?;
    if body.len() as u64 == length { Ok(body) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Percent-decoding; what is no escape stays.
pub fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = (first == b'%').then(|| tail.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        let (byte, next) = match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => (byte, &tail[2..]),
            None => (first, tail),
        };
        bytes.push(byte);
        rest = next;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Shared {
    fn matching_faults(&self, request: &Request) -> Vec<Fault> {
        let mut faults = Vec::new();
        for rule in self.rules.lock().unwrap().iter_mut().filter(|rule| request.path.contains(&rule.part)) {
            if rule.requests.contains(&rule.seen) {
                faults.push(rule.fault.clone());
            }
            rule.seen += 1;
        }
        faults
    }

    /// Waits as long as the throttle has so many bytes take.
    fn wait_for(&self, count: usize) {
        let rate = self.throttle.load(Ordering::Relaxed);
        if rate > 0 {
            thread::sleep(Duration::from_secs_f64(count as f64 / rate as f64));
        }
    }

    fn count(&self, path: &str, written: u64) {
        *self.bytes.lock().unwrap().entry(path.to_owned()).or_default() += written;
        let total = self.total.fetch_add(written, Ordering::Relaxed) + written;
        let hook = self.hook.lock().unwrap().clone();
        if let Some(hook) = hook {
            hook(path, total);
        }
    }

    fn wait_for_the_end(&self) {
        while !self.stopping.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// An answer before it is sent.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers with lower-case names.
    pub headers: BTreeMap<String, String>,
    body: Box<dyn Read>,
    length: u64,
}

impl Answer {
    /// An answer with that body.
    pub fn of_bytes(status: u16, bytes: Vec<u8>) -> Self {
        let length = bytes.len() as u64;
        Self { status, headers: BTreeMap::new(), body: Box::new(io::Cursor::new(bytes)), length }
    }
}

struct Connection<'a> {
    stream: TcpStream,
    shared: &'a Shared,
    /// Ends before the last step, after which the client may ask again.
    running: Option<Running<'a>>,
}

/// A request that is being answered.
struct Running<'a>(&'a Shared);

impl<'a> Running<'a> {
    fn new(shared: &'a Shared) -> Self {
        let running = shared.running.fetch_add(1, Ordering::Relaxed) + 1;
        shared.peak.fetch_max(running, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection<'_> {
    /// Whether the connection stays open.
    fn answer(&mut self, request: &Request, faults: &[Fault]) -> io::Result<bool> {
        for fault in faults {
            match fault {
                Fault::Hangup => return Ok(false),
                Fault::Silence => {
                    self.shared.wait_for_the_end();
                    return Ok(false);
                }
                _ => {}
            }
        }
        let mut answer = planned(self.shared, request, faults)?;
        if faults.iter().any(|fault| matches!(fault, Fault::LoseAnswer)) {
            return Ok(false);
        }
        for fault in faults {
            match fault {
                Fault::Header(name, value) => drop(answer.headers.insert((*name).to_owned(), value.clone())),
                Fault::WithoutHeader(name) => drop(answer.headers.remove(*name)),
                Fault::Chunked => {
                    answer.headers.remove("content-length");
                    answer.headers.insert("transfer-encoding".to_owned(), "chunked".to_owned());
                }
                Fault::ExtraBytes(count) => {
                    answer.body = Box::new(answer.body.chain(io::Cursor::new(vec![b'!'; *count])));
                    answer.length += *count as u64;
                }
                Fault::Corrupt => {
                    let mut first = [0];
                    answer.body.read_exact(&mut first)?;
                    answer.body = Box::new(io::Cursor::new([!first[0]]).chain(answer.body));
                }
                _ => {}
            }
        }
        self.send(request, answer, faults)
    }

    fn send(&mut self, request: &Request, mut answer: Answer, faults: &[Fault]) -> io::Result<bool> {
        let mut head = format!("HTTP/1.1 {} Answer\r\n", answer.status);
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.stream.write_all((head + "\r\n").as_bytes())?;
        if request.method == "HEAD" {
            return Ok(true);
        }
        let limit = |pick: fn(&Fault) -> Option<u64>| faults.iter().find_map(pick).unwrap_or(u64::MAX);
        let close = limit(|fault| if let Fault::CloseAfter(count) = fault { Some(*count) } else { None });
        let stall = limit(|fault| if let Fault::StallAfter(count) = fault { Some(*count) } else { None });
        let chunked = answer.headers.contains_key("transfer-encoding");
        let end = answer.length.min(close).min(stall);
        let mut sent = 0;
        while sent < end {
            let mut step = vec![0; STEP.min((end - sent) as usize)];
            answer.body.read_exact(&mut step)?;
            sent += step.len() as u64;
            self.shared.wait_for(step.len());
            if sent == end {
                self.running = None;
            }
            self.shared.count(&request.path, step.len() as u64);
            self.send_step(&step, chunked)?;
        }
        if stall < answer.length {
            self.shared.wait_for_the_end();
        }
        if end < answer.length {
            return Ok(false);
        }
        if chunked {
            self.stream.write_all(b"0\r\n\r\n")?;
        }
        Ok(chunked || answer.headers.get("content-length") == Some(&answer.length.to_string()))
    }

    fn send_step(&mut self, step: &[u8], chunked: bool) -> io::Result<()> {
        if !chunked {
            return self.stream.write_all(step);
        }
        write!(self.stream, "{:x}\r\n", step.len())?;
        self.stream.write_all(step)?;
        self.stream.write_all(b"\r\n")
    }
}

/// The answer of an honest server, or the one that a fault puts in its place.
fn planned(shared: &Shared, request: &Request, faults: &[Fault]) -> io::Result<Answer> {
    let replaced = faults.iter().find_map(|fault| match fault {
        Fault::Status(code, headers) => {
            Some(Answer { headers: headers.iter().cloned().collect(), ..Answer::of_bytes(*code, Vec::new()) })
        }
        Fault::HtmlPage => {
            let mut page = Answer::of_bytes(200, b"<!doctype html><title>Sign in</title>".to_vec());
            page.headers.insert("content-type".to_owned(), "text/html; charset=utf-8".to_owned());
            Some(page)
        }
        _ => None,
    });
    let mut answer = match (replaced, &shared.handler) {
        (Some(answer), _) => answer,
        (None, Some(handler)) if faults.iter().any(|fault| matches!(fault, Fault::IgnoreRange)) => {
            let mut request = request.clone();
            request.headers.remove("range");
            handler(&request)
        }
        (None, Some(handler)) => handler(request),
        (None, None) => file_answer(&shared.root, request, faults)?,
    };
    answer.headers.insert("content-length".to_owned(), answer.length.to_string());
    Ok(answer)
}

fn file_answer(root: &Path, request: &Request, faults: &[Fault]) -> io::Result<Answer> {
    let safe = request.path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let path = root.join(&request.path);
    let Ok(mut file) = (if safe && path.is_file() { File::open(&path) } else { Err(io::ErrorKind::NotFound.into()) })
    else {
        return Ok(Answer::of_bytes(404, b"not found".to_vec()));
    };
    let size = file.metadata()?.len();
    let etag = faults.iter().find_map(|fault| match fault {
        Fault::Header("etag", value) => Some(value.clone()),
        _ => None,
    });
    let etag = etag.unwrap_or_else(|| format!("\"{size:x}-{}\"", request.path.len()));
    let same = request.headers.get("if-range").is_none_or(|validator| *validator == etag);
    let obeyed = same && !faults.iter().any(|fault| matches!(fault, Fault::IgnoreRange));
    let asked = request.headers.get("range").filter(|_| obeyed).and_then(|value| parse_range(value, size));
    let kind = if request.path.ends_with(".json") { "application/json" } else { "application/octet-stream" };
    let mut headers = BTreeMap::new();
    let mut set = |name: &str, value: String| headers.insert(name.to_owned(), value);
    set("etag", etag);
    set("accept-ranges", "bytes".to_owned());
    set("content-type", kind.to_owned());
    let (status, first, length) = match asked {
        Some((first, last)) if first < size => {
            set("content-range", format!("bytes {first}-{last}/{size}"));
            (206, first, last - first + 1)
        }
        Some(_) => {
            set("content-range", format!("bytes */{size}"));
            (416, 0, 0)
        }
        None => (200, 0, size),
    };
    file.seek(SeekFrom::Start(first))?;
    Ok(Answer { status, headers, body: Box::new(file.take(length)), length })
}

/// One range, last byte inclusive and inside the file where the first one is; several ranges are ignored, as servers
/// may.
pub fn parse_range(value: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    match (first, last) {
        ("", count) => Some((size.saturating_sub(count.parse().ok()?), size.saturating_sub(1))),
        (first, "") => Some((first.parse().ok()?, size.saturating_sub(1))),
        (first, last) => Some((first.parse().ok()?, last.parse::<u64>().ok()?.min(size.saturating_sub(1)))),
    }
}
