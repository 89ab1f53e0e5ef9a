//! Real servers, publishers and readers for tests of live work: nginx with its RTMP module, ffmpeg and
//! ffprobe, on free ports of the loopback, with everything that they write in one temporary directory.
//! What was started ends with its value, also when a test fails.
//!
//! Included by path into several test programs, none of which uses all of it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest wait for a server to listen, and for a tool to end.
const PATIENCE: Duration = Duration::from_secs(60);
const MODULES: [&str; 3] = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/local/nginx/modules"];
/// What a key begins with that the server refuses.
pub const REFUSED: &str = "refused";

/// A port that nobody listens on; of TCP and of UDP.
pub fn free_port() -> u16 {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = tcp.local_addr().expect("an address").port();
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).map_or_else(|_| free_port(), |_| port)
}

/// Waits until something holds.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// nginx with the RTMP module. It takes every key for the application `live` but those that begin
/// with [`REFUSED`], and keeps what is published as FLV, one file for each time that it was.
pub struct RtmpServer {
    directory: TempDir,
    port: u16,
    http: u16,
    nginx: Option<Child>,
}

impl RtmpServer {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut server = Self { directory, port: free_port(), http: free_port(), nginx: None };
        fs::create_dir(server.recordings()).expect("a directory for recordings");
        fs::write(server.file("nginx.conf"), server.configuration()).expect("a configuration");
        server.begin();
        server
    }

    pub fn url(&self, key: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{key}", self.port)
    }

    /// What it knows of its streams, as XML.
    pub fn statistics(&self) -> String {
        use std::io::Write as _;
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.http)).expect("its page of statistics");
        let limit = Some(Duration::from_secs(10));
        stream.set_read_timeout(limit).expect("a limit");
        stream.write_all(b"GET /stat HTTP/1.0\r\n\r\n").expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    }

    /// What was published under a key so far, the oldest first.
    pub fn published(&self, key: &str) -> Vec<PathBuf> {
        let prefix = format!("{key}-");
        let entries = fs::read_dir(self.recordings()).expect("recordings");
        let mut files: Vec<_> = entries.map(|entry| entry.expect("a recording").path()).collect();
        files.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)));
        files.sort_by_key(|path| fs::metadata(path).and_then(|facts| facts.created()).expect("a time"));
        files
    }

    /// Everything that it wrote into its logs.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("error.log")).unwrap_or_default()
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(mut nginx) = self.nginx.take() {
            nginx.kill().expect("a process to kill");
            nginx.wait().expect("its end");
        }
    }

    pub fn is_running(&self) -> bool {
        self.nginx.is_some()
    }

    /// Begins again, on the same ports.
    pub fn begin(&mut self) {
        let configuration = self.file("nginx.conf");
        let mut command = Command::new(nginx());
        command.arg("-p").arg(self.directory.path()).arg("-e").arg(self.file("error.log")).arg("-c").arg(configuration);
        let nginx = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.nginx = Some(nginx.expect("nginx-light and libnginx-mod-rtmp, which scripts/setup.sh installs"));
        until("nginx listens", PATIENCE, || {
            let ended = self.nginx.as_mut().is_some_and(|nginx| nginx.try_wait().expect("a process").is_some());
            assert!(!ended, "nginx ended: {}", self.log());
            [self.port, self.http].iter().all(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok())
        });
    }

    /// Stops it where it stands: it holds its connections and reads nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let nginx = self.nginx.as_ref().expect("nginx runs");
        kill_process(Pid::from_child(nginx), signal).expect("a process of ours");
    }

    fn recordings(&self) -> PathBuf {
        self.file("recordings")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configuration(&self) -> String {
        let module = MODULES.iter().map(|directory| Path::new(directory).join("ngx_rtmp_module.so"));
        let module = module.into_iter().find(|path| path.exists()).expect("libnginx-mod-rtmp is installed");
        let root = self.directory.path().display();
        let (port, http) = (self.port, self.http);
        let mut text = format!("load_module {};\n", module.display());
        if rustix::process::geteuid().is_root() {
            // The directory is for its owner alone.
            text.push_str("user root;\n");
        }
        let _ = write!(
            text,
            "daemon off; master_process off; worker_processes 1; pid {root}/nginx.pid;\n\
             error_log {root}/error.log info;\n\
             events {{ worker_connections 256; }}\n\
             rtmp {{ server {{ listen 127.0.0.1:{port}; chunk_size 4096; notify_method get;\n\
               application live {{ live on; on_publish http://127.0.0.1:{http}/publish; drop_idle_publisher 10s;\n\
                 record all; record_path {root}/recordings; record_unique on; record_suffix -%s.flv; }} }} }}\n\
             http {{ access_log off; client_body_temp_path {root}/b; proxy_temp_path {root}/p;\n\
               fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
               server {{ listen 127.0.0.1:{http};\n\
                 location = /publish {{ if ($arg_name ~ ^{REFUSED}) {{ return 403; }} return 204; }}\n\
                 location = /stat {{ rtmp_stat all; }} }} }}\n"
        );
        text
    }
}

impl Drop for RtmpServer {
    fn drop(&mut self) {
        if let Some(mut nginx) = self.nginx.take() {
            // A process that has ended already cannot be killed, and need not be.
            let _ = nginx.kill();
            let _ = nginx.wait();
        }
    }
}

fn nginx() -> &'static str {
    ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|path| Path::new(path).exists()).unwrap_or("nginx")
}

/// A process that ends with its value: a publisher or a reader.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.expect("a program that scripts/setup.sh installs"))
    }

    /// Has it end well, as by Ctrl-C.
    pub fn interrupt(&mut self) {
        kill_process(Pid::from_child(&self.0), Signal::INT).expect("a process of ours");
        self.wait();
    }

    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("a process").is_some()
    }

    pub fn wait(&mut self) {
        until("a program ends", PATIENCE, || self.has_ended());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A clip of a moving picture and a tone, H.264 and AAC, with a key frame each second.
pub fn clip(directory: &Path, size: &str, seconds: u32) -> PathBuf {
    clip_in_groups(directory, size, seconds, 1)
}

/// The same with a key frame every so many seconds.
pub fn clip_in_groups(directory: &Path, size: &str, seconds: u32, group: u32) -> PathBuf {
    let path = directory.join(format!("clip-{size}-{seconds}-{group}.mp4"));
    let picture = format!("testsrc2=size={size}:rate=25:duration={seconds}");
    let tone = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let mut command = ffmpeg();
    command.args(["-y", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone]);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-bf", "0"]);
    command.args(["-g", &(group * 25).to_string(), "-sc_threshold", "0"]);
    command.args(["-c:a", "aac", "-b:a", "64k", "-ac", "2"]).arg(&path);
    succeed(&mut command, PATIENCE);
    path
}

/// Publishes a clip in a loop and in its own time; `format` is ffmpeg's name of a muxer.
pub fn publish(clip: &Path, format: &str, url: &str) -> Running {
    let mut command = ffmpeg();
    command.args(["-re", "-stream_loop", "-1", "-i"]).arg(clip).args(["-c", "copy", "-f", format, url]);
    Running::start(&mut command)
}

/// Keeps what comes from an address for so many seconds of media; `options` stand before the address.
pub fn receive(options: &[&str], url: &str, seconds: f64, into: &Path) -> Running {
    let mut command = ffmpeg();
    command.args(options).args(["-i", url, "-c", "copy", "-t", &seconds.to_string(), "-y"]).arg(into);
    Running::start(&mut command)
}

pub fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin"]);
    command
}

/// A packet as ffprobe sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    pub is_video: bool,
    pub is_key: bool,
    pub pts: f64,
    pub dts: f64,
}

/// All packets of a file, or of an address for so many seconds.
pub fn packets(place: impl AsRef<OsStr>, seconds: Option<u32>) -> Vec<Packet> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_entries", "packet=codec_type,pts_time,dts_time,flags", "-of", "compact=p=0"]);
    if let Some(seconds) = seconds {
        command.args(["-read_intervals", &format!("%+{seconds}")]);
    }
    let output = succeed(command.arg(place), PATIENCE);
    String::from_utf8(output.stdout).expect("text").lines().filter_map(packet).collect()
}

fn packet(line: &str) -> Option<Packet> {
    let field = |name: &str| line.split('|').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let pts: f64 = field("pts_time")?.parse().ok()?;
    Some(Packet {
        is_video: field("codec_type")? == "video",
        is_key: field("flags")?.starts_with('K'),
        pts,
        dts: field("dts_time")?.parse().unwrap_or(pts),
    })
}

/// Pictures and pieces of sound that decode without an error; panics where one does not.
pub fn decoded(place: impl AsRef<OsStr>) -> u64 {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-v", "error", "-xerror", "-nostdin", "-i"]).arg(place);
    command.args(["-map", "0:v:0", "-f", "null", "-progress", "pipe:1", "-"]);
    let output = succeed(&mut command, PATIENCE);
    let text = String::from_utf8(output.stdout).expect("text");
    let frames = text.lines().rev().find_map(|line| line.strip_prefix("frame=")).expect("a count of frames");
    frames.trim().parse().expect("a number")
}

/// Every size that the pictures of a file have, each once.
pub fn sizes(place: impl AsRef<OsStr>) -> Vec<String> {
    let mut command = Command::new("ffprobe");
    command.args([
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_entries",
        "frame=width,height",
        "-of",
        "csv=p=0:s=x",
    ]);
    let output = succeed(command.arg(place), PATIENCE);
    let text = String::from_utf8(output.stdout).expect("text");
    let mut sizes: Vec<_> = text
        .lines()
        .map(|line| line.trim().trim_end_matches('x'))
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    sizes.sort();
    sizes.dedup();
    sizes
}

/// Runs a program that must succeed within a time.
pub fn succeed(command: &mut Command, limit: Duration) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("a program that scripts/setup.sh installs");
    let pid = Pid::from_child(&child);
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        let is_late = waiting.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if is_late {
            let _ = kill_process(pid, Signal::KILL);
        }
        is_late
    });
    let output = child.wait_with_output().expect("its output");
    drop(done);
    assert!(!watch.join().expect("a watch"), "{command:?} took longer than {limit:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}
