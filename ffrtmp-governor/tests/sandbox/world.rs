//! Canaries: files, servers and a process that an attack must not touch.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;

use tempfile::TempDir;

use crate::SUCCEEDED;
use crate::process::{Process, say};

const SECRET: &str = "a secret of somebody else";

/// What an attacker knows of the world.
pub(crate) struct Target {
    pub(crate) input: PathBuf,
    pub(crate) output: PathBuf,
    /// A file of somebody else.
    pub(crate) canary: PathBuf,
    /// A link to it that lies among the outputs.
    pub(crate) link: PathBuf,
    /// A program that would run as root, and show a file that only root reads.
    pub(crate) privileged: PathBuf,
    pub(crate) of_root: PathBuf,
    pub(crate) tcp: u16,
    pub(crate) udp: u16,
    pub(crate) socket: PathBuf,
    pub(crate) abstract_socket: String,
    pub(crate) sibling: i32,
    /// Where the sibling keeps a secret.
    pub(crate) address: usize,
}

/// What the sibling keeps in its memory.
static KEPT: [u8; 8] = *b"kept far";

/// A world for one attack.
pub(crate) struct World {
    folder: TempDir,
    tcp: TcpListener,
    udp: UdpSocket,
    unix: UnixListener,
    abstract_unix: UnixListener,
    name: String,
    sibling: Process,
}

impl World {
    /// A world that belongs to this user, or to the one who runs the test.
    pub(crate) fn new(user: Option<u32>) -> Self {
        let folder = tempfile::tempdir().expect("a scratch directory");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("elsewhere")).expect("scratch");
        fs::create_dir(path("out")).expect("scratch");
        fs::write(path("in.mp4"), "an input").expect("scratch");
        fs::write(path("elsewhere/canary"), SECRET).expect("scratch");
        fs::set_permissions(path("elsewhere/canary"), fs::Permissions::from_mode(0o600)).expect("scratch");
        symlink(path("elsewhere/canary"), path("out/link")).expect("scratch");
        fs::write(path("elsewhere/of-root"), SUCCEEDED).expect("scratch");
        fs::set_permissions(path("elsewhere/of-root"), fs::Permissions::from_mode(0o600)).expect("scratch");
        fs::copy("/bin/cat", path("elsewhere/privileged")).expect("scratch");
        fs::set_permissions(path("elsewhere/privileged"), fs::Permissions::from_mode(0o4755)).expect("scratch");
        let unix = UnixListener::bind(path("elsewhere/socket")).expect("a socket");
        let name = format!("ffrtmp-canary-{}", folder.path().display());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let abstract_unix = UnixListener::bind_addr(&address).expect("a socket");
        if let Some(user) = user {
            for name in ["", "elsewhere", "out", "in.mp4", "elsewhere/canary", "elsewhere/socket"] {
                chown(path(name), Some(user), Some(user)).expect("root gives away files");
            }
        }
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        tcp.set_nonblocking(true).expect("a socket");
        udp.set_nonblocking(true).expect("a socket");
        unix.set_nonblocking(true).expect("a socket");
        abstract_unix.set_nonblocking(true).expect("a socket");
        let mut sibling = Process::start(user, || {
            say("r");
            loop {
                std::hint::black_box(&KEPT);
                std::thread::park();
            }
        });
        // From then on it is the user's.
        assert_eq!(sibling.hear(), b'r');
        Self { folder, tcp, udp, unix, abstract_unix, name, sibling }
    }

    /// What the attacker knows.
    pub(crate) fn target(&self) -> Target {
        let path = |name: &str| self.folder.path().join(name);
        Target {
            input: path("in.mp4"),
            output: path("out"),
            canary: path("elsewhere/canary"),
            link: path("out/link"),
            privileged: path("elsewhere/privileged"),
            of_root: path("elsewhere/of-root"),
            tcp: self.tcp.local_addr().expect("bound").port(),
            udp: self.udp.local_addr().expect("bound").port(),
            socket: path("elsewhere/socket"),
            abstract_socket: self.name.clone(),
            sibling: self.sibling.pid(),
            address: (&raw const KEPT).addr(),
        }
    }

    /// What was done to the canaries.
    pub(crate) fn harm(mut self) -> Option<&'static str> {
        let canary = self.folder.path().join("elsewhere/canary");
        let mode = fs::metadata(&canary).map(|metadata| metadata.permissions().mode() & 0o777);
        let sibling = !self.sibling.is_alive();
        let mut harm = None;
        for (done, what) in [
            (fs::read_to_string(&canary).ok().as_deref() != Some(SECRET), "the canary changed"),
            (mode.ok() != Some(0o600), "the canary's mode changed"),
            (
                fs::read_to_string(self.folder.path().join("in.mp4")).ok().as_deref() != Some("an input"),
                "the input changed",
            ),
            (self.tcp.accept().is_ok(), "the TCP canary was called"),
            (self.udp.recv(&mut [0; 64]).is_ok(), "the UDP canary was called"),
            (self.unix.accept().is_ok(), "the socket was called"),
            (self.abstract_unix.accept().is_ok(), "the abstract socket was called"),
            (sibling, "the sibling is dead"),
        ] {
            harm = harm.or(done.then_some(what));
        }
        harm
    }
}
