//! A small RTSP server: it plays a clip that ffmpeg sends it as RTP to whoever asks, within the
//! connection. Authorisation and everything else that a camera can do is left out.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use crate::servers::{self, Running, until};

/// How often a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// The server with its publisher; both end with it.
pub(crate) struct RtspServer {
    port: u16,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    _publisher: Running,
    _directory: TempDir,
}

struct Shared {
    description: String,
    /// Those who play, and those who only talk so far.
    players: Mutex<Vec<TcpStream>>,
    talking: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

impl RtspServer {
    pub(crate) fn start(clip: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // Pictures and sound, each with its control channel, in the order of interleaved channels.
        let sockets = [(); 4].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket"));
        let ports = sockets.each_ref().map(|it| it.local_addr().expect("an address").port());
        let told = directory.path().join("clip.sdp");
        let publisher = publish(clip, ports, &told);
        until("ffmpeg describes what it sends", Duration::from_secs(60), || {
            fs::read_to_string(&told).is_ok_and(|text| text.contains("m=video") && text.contains("m=audio"))
        });
        let description = describe(&fs::read_to_string(&told).expect("a description"));
        let shared = Arc::new(Shared {
            description,
            players: Mutex::default(),
            talking: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut threads: Vec<_> =
            (0_u8..).zip(sockets).map(|(channel, socket)| relay(&shared, channel, socket)).collect();
        threads.push(accept(&shared, listener));
        Self { port, shared, threads, _publisher: publisher, _directory: directory }
    }

    pub(crate) fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/clip", self.port)
    }

    /// Breaks every connection; it takes new ones.
    pub(crate) fn hang_up(&self) {
        for list in [&self.shared.players, &self.shared.talking] {
            for client in list.lock().expect("clients").drain(..) {
                // One that has gone already is no matter.
                let _ = client.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.hang_up();
        // The thread that waits for clients gets a last one.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn publish(clip: &Path, ports: [u16; 4], told: &Path) -> Running {
    let address = |rtp: u16, rtcp: u16| format!("rtp://127.0.0.1:{rtp}?rtcpport={rtcp}");
    let mut command = servers::ffmpeg();
    command.args(["-re", "-stream_loop", "-1", "-i"]).arg(clip);
    command.args(["-map", "0:v", "-c", "copy", "-f", "rtp", &address(ports[0], ports[1])]);
    command.args(["-map", "0:a", "-c", "copy", "-f", "rtp", &address(ports[2], ports[3])]);
    Running::start(command.arg("-sdp_file").arg(told))
}

/// The description with a name for each stream, to be asked for.
fn describe(told: &str) -> String {
    let mut text = String::new();
    let mut streams = 0..;
    for line in told.lines().filter(|line| !line.starts_with("SDP:") && !line.is_empty()) {
        text.push_str(line);
        text.push_str("\r\n");
        if line.starts_with("m=") {
            text.push_str(&format!("a=control:stream={}\r\n", streams.next().unwrap_or_default()));
        }
    }
    text
}

fn relay(shared: &Arc<Shared>, channel: u8, socket: UdpSocket) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    socket.set_read_timeout(Some(LOOK)).expect("a limit");
    thread::spawn(move || {
        let mut packet = [0_u8; 65_536];
        while !shared.is_over.load(Ordering::Relaxed) {
            let Ok(length) = socket.recv(&mut packet[4..]) else { continue };
            packet[0] = b'$';
            packet[1] = channel;
            packet[2..4].copy_from_slice(&u16::try_from(length).unwrap_or_default().to_be_bytes());
            let mut players = shared.players.lock().expect("players");
            players.retain_mut(|player| player.write_all(&packet[..length + 4]).is_ok());
        }
    })
}

fn accept(shared: &Arc<Shared>, listener: TcpListener) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let mut talks = Vec::new();
        for client in listener.incoming().map_while(Result::ok) {
            if shared.is_over.load(Ordering::Relaxed) {
                break;
            }
            // One that takes nothing is given up.
            client.set_write_timeout(Some(Duration::from_secs(5))).expect("a limit");
            shared.talking.lock().expect("clients").push(client.try_clone().expect("a socket"));
            let shared = Arc::clone(&shared);
            // A client may go at any time.
            talks.push(thread::spawn(move || drop(talk(&shared, client))));
        }
        for talk in talks {
            let _ = talk.join();
        }
    })
}

/// Answers a client until it goes.
fn talk(shared: &Shared, client: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut out = client;
    while let Some(request) = Request::read(&mut reader)? {
        let answer = request.answer(&shared.description);
        // Nothing of the media may come between the parts of an answer.
        let mut players = shared.players.lock().expect("players");
        out.write_all(answer.as_bytes())?;
        if request.method == "PLAY" {
            players.push(out.try_clone()?);
        }
    }
    Ok(())
}

struct Request {
    method: String,
    uri: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Self>> {
        loop {
            let Some(first) = reader.fill_buf()?.first().copied() else { return Ok(None) };
            if first != b'$' {
                break;
            }
            // What it tells of what it received.
            let mut head = [0; 4];
            reader.read_exact(&mut head)?;
            let length = u16::from_be_bytes([head[2], head[3]]);
            std::io::copy(&mut reader.by_ref().take(u64::from(length)), &mut std::io::sink())?;
        }
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ').map(str::to_owned);
        let (method, uri) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Ok(Some(Self { method, uri, headers }))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn answer(&self, description: &str) -> String {
        let mut text = format!("RTSP/1.0 200 OK\r\nCSeq: {}\r\n", self.header("cseq"));
        let body = match self.method.as_str() {
            "OPTIONS" => {
                text.push_str("Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN\r\n");
                ""
            }
            "DESCRIBE" => {
                text.push_str(&format!("Content-Base: {}/\r\nContent-Type: application/sdp\r\n", self.uri));
                description
            }
            "SETUP" => {
                let channels = if self.uri.ends_with("stream=0") { "0-1" } else { "2-3" };
                text.push_str(&format!("Transport: RTP/AVP/TCP;unicast;interleaved={channels}\r\nSession: 1\r\n"));
                ""
            }
            _ => {
                text.push_str("Session: 1\r\n");
                ""
            }
        };
        format!("{text}Content-Length: {}\r\n\r\n{body}", body.len())
    }
}
