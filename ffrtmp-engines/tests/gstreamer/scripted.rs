//! A server that shakes hands as RTMP wants it and then says what it was told to, at once or once it is
//! asked to play: nonsense, or media with times as no publisher has them in a test. Ends with its value.
//!
//! Included by path into two test programs.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

use std::io::{Read, Result, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of each of the three packets of the handshake.
const PACKET: usize = 1536;
/// Bytes of a chunk, as long as nobody asks for more.
const CHUNK: usize = 128;

/// What is said when.
pub type Script = Vec<(Duration, Vec<u8>)>;

/// When it begins to speak by its script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    AfterHandshake,
    Playing,
}

/// The server.
pub struct Scripted {
    port: u16,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    /// Says everything at once.
    pub fn saying(begins: Begins, bytes: Vec<u8>) -> Self {
        Self::start(begins, vec![(Duration::ZERO, bytes)])
    }

    /// Says each part when it is due, counted from where it begins.
    pub fn start(begins: Begins, script: Script) -> Self {
        Self::filtered(begins, script, |_| true)
    }

    /// Leaves out of its script what it may not say when that is due.
    pub fn filtered(begins: Begins, script: Script, may: impl Fn(&[u8]) -> bool + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let is_over = Arc::new(AtomicBool::new(false));
        let own = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if own.load(Ordering::Relaxed) {
                    break;
                }
                // A client may go at any time.
                let _ = talk(client, begins, &script, &may, &own);
            }
        });
        Self { port, is_over, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live/key", self.port)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // The thread that waits for clients gets a last one.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn talk(
    mut client: TcpStream,
    begins: Begins,
    script: &[(Duration, Vec<u8>)],
    may: &dyn Fn(&[u8]) -> bool,
    is_over: &AtomicBool,
) -> Result<()> {
    client.set_read_timeout(Some(Duration::from_millis(100)))?;
    client.set_write_timeout(Some(Duration::from_secs(60)))?;
    let mut heard = Vec::new();
    hear(&mut client, &mut heard, is_over, |heard| heard.len() > PACKET)?;
    let greeting = [&[3][..], &[0; 8], &[7; PACKET - 8], &heard[1..=PACKET]].concat();
    client.write_all(&greeting)?;
    hear(&mut client, &mut heard, is_over, |heard| heard.len() > 2 * PACKET)?;
    if begins == Begins::Playing {
        let [connect, create] = ["connect", "createStream"];
        let id = hear_command(&mut client, &mut heard, is_over, connect)?;
        let success = object(&[("level", "status"), ("code", "NetConnection.Connect.Success")]);
        client.write_all(&message(3, 20, 0, &[string("_result"), id, vec![5], success].concat()))?;
        let id = hear_command(&mut client, &mut heard, is_over, create)?;
        let stream = number(1.0);
        client.write_all(&message(3, 20, 0, &[string("_result"), id, vec![5], stream].concat()))?;
        hear_command(&mut client, &mut heard, is_over, "play")?;
        let start = object(&[("level", "status"), ("code", "NetStream.Play.Start")]);
        client.write_all(&message(5, 20, 1, &[string("onStatus"), number(0.0), vec![5], start].concat()))?;
    }
    let begun = Instant::now();
    for (due, bytes) in script {
        while begun.elapsed() < *due {
            if is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            // The pace is what is asked for here; nothing is waited for.
            std::thread::sleep(due.saturating_sub(begun.elapsed()).min(Duration::from_millis(50)));
        }
        if may(bytes) {
            client.write_all(bytes)?;
        }
    }
    hear(&mut client, &mut heard, is_over, |_| false)
}

/// Reads until something holds, or the client goes.
fn hear(
    client: &mut TcpStream,
    heard: &mut Vec<u8>,
    is_over: &AtomicBool,
    holds: impl Fn(&[u8]) -> bool,
) -> Result<()> {
    let mut buffer = [0; 4096];
    while !holds(heard) {
        match client.read(&mut buffer) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => heard.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if is_over.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
    }
    Ok(())
}

/// Waits for a command; the number that its answer has to name.
fn hear_command(client: &mut TcpStream, heard: &mut Vec<u8>, is_over: &AtomicBool, name: &str) -> Result<Vec<u8>> {
    let name = string(name);
    let place = |heard: &[u8]| heard.windows(name.len()).position(|window| window == name).map(|at| at + name.len());
    hear(client, heard, is_over, |heard| place(heard).is_some_and(|at| heard.len() >= at + 9))?;
    let at = place(heard).unwrap_or_default();
    Ok(heard[at..at + 9].to_vec())
}

/// A file of FLV in its own pace, its times moved by so many milliseconds.
pub fn film(flv: &[u8], shift: u32) -> Script {
    let mut script = Vec::new();
    let mut rest = flv.get(13..).unwrap_or_default();
    while let [kind, size @ .., _, _, _, _, _, _, _] = rest.get(..11).unwrap_or_default() {
        let size = u32::from_be_bytes([0, size[0], size[1], size[2]]) as usize;
        let time = u32::from_be_bytes([rest[7], rest[4], rest[5], rest[6]]);
        let channel = if *kind == 8 { 6 } else { 7 };
        let said = timed(channel, *kind, 1, time.wrapping_add(shift), &rest[11..11 + size]);
        script.push((Duration::from_millis(time.into()), said));
        rest = &rest[size + 15..];
    }
    script
}

/// A message in chunks.
pub fn message(channel: u8, kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    timed(channel, kind, stream, 0, payload)
}

fn timed(channel: u8, kind: u8, stream: u8, time: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let is_long = time >= 0xff_ffff;
    let short = if is_long { [0xff; 4] } else { time.to_be_bytes() };
    let long = if is_long { time.to_be_bytes().to_vec() } else { Vec::new() };
    let mut bytes = vec![channel, short[1], short[2], short[3], length[1], length[2], length[3], kind, stream, 0, 0, 0];
    bytes.extend_from_slice(&long);
    for (place, chunk) in payload.chunks(CHUNK).enumerate() {
        if place > 0 {
            bytes.push(0xc0 | channel);
            bytes.extend_from_slice(&long);
        }
        bytes.extend_from_slice(chunk);
    }
    bytes
}

/// Bytes without any sense, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn string(text: &str) -> Vec<u8> {
    [&[2][..], &(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

fn number(value: f64) -> Vec<u8> {
    [&[0][..], &value.to_be_bytes()].concat()
}

fn object(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = vec![3];
    for (name, value) in entries {
        bytes.extend_from_slice(&string(name)[1..]);
        bytes.extend_from_slice(&string(value));
    }
    bytes.extend_from_slice(&[0, 0, 9]);
    bytes
}
