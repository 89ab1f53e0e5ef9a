//! A web server that hands out the files of a directory, and can be gone for a while.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The server; it ends with its value.
pub(crate) struct FileServer {
    directory: PathBuf,
    port: u16,
    running: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl FileServer {
    pub(crate) fn start(directory: &Path) -> Self {
        let mut server = Self { directory: directory.to_owned(), port: 0, running: None };
        server.begin();
        server
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    /// Begins, or begins again on the same port.
    pub(crate) fn begin(&mut self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).expect("a port");
        self.port = listener.local_addr().expect("an address").port();
        let (is_over, directory) = (Arc::new(AtomicBool::new(false)), self.directory.clone());
        let thread = thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                for client in listener.incoming().map_while(Result::ok) {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    // A client may go at any time.
                    let _ = answer(&directory, client);
                }
            }
        });
        self.running = Some((is_over, thread));
    }

    /// From now on nobody listens.
    pub(crate) fn stop(&mut self) {
        if let Some((is_over, thread)) = self.running.take() {
            is_over.store(true, Ordering::Relaxed);
            drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
            let _ = thread.join();
        }
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn answer(directory: &Path, mut client: TcpStream) -> std::io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    client.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(client.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let name = request.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    match fs::read(directory.join(name)) {
        Ok(content) => {
            let kind = if name.ends_with("m3u8") { "application/vnd.apple.mpegurl" } else { "video/mp2t" };
            let length = content.len();
            write!(client, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n")?;
            client.write_all(b"Connection: close\r\n\r\n")?;
            client.write_all(&content)
        }
        Err(_) => client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}
