//! An HTTP server of files that misbehaves on demand and counts who comes.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A server that runs until it is dropped.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    file: Vec<u8>,
    redirect_to: String,
    stop: AtomicBool,
    requests: Mutex<Vec<Request>>,
}

/// One request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// First byte asked for, if a range was.
    pub(crate) from: Option<usize>,
}

impl Origin {
    /// Serves `file` on a free port of this address: at `/whole`, cut off at first at `/cut`, after
    /// a failure at `/busy`, without end at `/endless`; `/moved` leads to `redirect_to`.
    pub(crate) fn start(address: &str, file: Vec<u8>, redirect_to: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            file,
            redirect_to: redirect_to.to_owned(),
            stop: AtomicBool::new(false),
            requests: Mutex::default(),
        });
        let accepting = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&listener, &shared))
        };
        Self { address, shared, accepting: Some(accepting) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Every request for a path, in their order.
    pub(crate) fn requests(&self, path: &str) -> Vec<Request> {
        let all = self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|request| request.path == path).cloned().collect()
    }

    /// Whether anybody ever came.
    pub(crate) fn was_visited(&self) -> bool {
        !self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Wakes the accept loop.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        if let Ok(stream) = stream {
            let shared = Arc::clone(shared);
            std::thread::spawn(move || {
                // A client that goes away is what some tests want.
                let _ = answer(stream, &shared);
            });
        }
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = read(&stream)?;
    let visit = {
        let mut requests = shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(request.clone());
        requests.iter().filter(|one| one.path == request.path).count()
    };
    let file = &shared.file;
    match (request.path.as_str(), visit) {
        ("/whole", _) => whole(&mut stream, file),
        ("/cut", 1) => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"one\"\r\n\r\n", file.len())?;
            stream.write_all(&file[..file.len() / 2])
        }
        ("/cut", _) => rest(&mut stream, file, request.from.unwrap_or(0)),
        ("/busy", 1) => status(&mut stream, "503 Service Unavailable"),
        ("/busy", _) => whole(&mut stream, file),
        ("/endless", _) => endless(&mut stream, shared),
        ("/moved", _) => {
            write!(stream, "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", shared.redirect_to)
        }
        ("/forbidden", _) => status(&mut stream, "403 Forbidden"),
        _ => status(&mut stream, "404 Not Found"),
    }
}

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut request = Request { path: first.split(' ').nth(1).unwrap_or_default().to_owned(), from: None };
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            request.from = range.trim_end_matches('-').parse().ok();
        }
    }
    Ok(request)
}

fn whole(stream: &mut TcpStream, file: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len())?;
    stream.write_all(file)
}

fn rest(stream: &mut TcpStream, file: &[u8], from: usize) -> std::io::Result<()> {
    let (length, last) = (file.len(), file.len() - 1);
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{last}/{length}\r\nContent-Length: {}\r\n\
         ETag: \"one\"\r\nConnection: close\r\n\r\n",
        length - from
    )?;
    stream.write_all(&file[from..])
}

fn endless(stream: &mut TcpStream, shared: &Shared) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let chunk = [0_u8; 0x8000];
    while !shared.stop.load(Ordering::Acquire) {
        write!(stream, "8000\r\n")?;
        stream.write_all(&chunk)?;
        write!(stream, "\r\n")?;
    }
    Ok(())
}

fn status(stream: &mut TcpStream, status: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}
