//! The attacks, each with the layers that hold it alone.

#![allow(unsafe_code, reason = "attackers call the kernel")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use rustix::process::geteuid;

use ffrtmp_governor::sandbox::Layer::{self, Capabilities, Landlock, Mounts, Network, NoNewPrivs, Rlimits, Seccomp};

use crate::world::Target;
use crate::{SUCCEEDED, Who};

/// One attack.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// `Ok` if it succeeded.
    pub(crate) strike: fn(&Target) -> io::Result<()>,
    /// Layers each of which holds it alone, whoever the agent is.
    holders: &'static [Layer],
    /// Those of an agent that is root, where they differ.
    of_root: Option<&'static [Layer]>,
    /// Whether only one of the two can try it.
    only: Option<Who>,
    /// Whether only root can set the scene.
    prepared_by_root: bool,
    /// Whether a single layer is too few.
    pub(crate) needs_two: bool,
}

impl Attack {
    pub(crate) fn fits(&self, who: Who) -> bool {
        self.only.is_none_or(|only| only == who) && (!self.prepared_by_root || geteuid().is_root())
    }

    pub(crate) fn holders(&self, who: Who) -> &'static [Layer] {
        self.of_root.filter(|_| who == Who::Root).unwrap_or(self.holders)
    }

    const fn where_root(mut self, holders: &'static [Layer]) -> Self {
        self.of_root = Some(holders);
        self
    }

    const fn prepared_by_root(mut self) -> Self {
        self.prepared_by_root = true;
        self
    }

    const fn only(mut self, who: Who) -> Self {
        self.only = Some(who);
        self
    }
}

/// On files, the network or by exec: two layers at least.
const fn grave(name: &'static str, holders: &'static [Layer], strike: fn(&Target) -> io::Result<()>) -> Attack {
    Attack { name, strike, holders, of_root: None, only: None, prepared_by_root: false, needs_two: true }
}

const fn other(name: &'static str, holders: &'static [Layer], strike: fn(&Target) -> io::Result<()>) -> Attack {
    Attack { name, strike, holders, of_root: None, only: None, prepared_by_root: false, needs_two: false }
}

pub(crate) const ATTACKS: &[Attack] = &[
    grave("read a file elsewhere", &[Landlock, Mounts], |target| fs::read(&target.canary).map(drop)),
    grave("read it through a link among the outputs", &[Landlock, Mounts], |target| fs::read(&target.link).map(drop)),
    grave("read it through /proc/self/root", &[Landlock, Mounts], |target| {
        fs::read(format!("/proc/self/root{}", target.canary.display())).map(drop)
    }),
    grave("list a directory elsewhere", &[Landlock, Mounts], |target| {
        fs::read_dir(target.canary.parent().unwrap_or(&target.canary)).map(drop)
    }),
    grave("write to a file elsewhere", &[Landlock, Mounts], |target| {
        OpenOptions::new().append(true).open(&target.canary)?.write_all(b"!")
    }),
    grave("truncate a file elsewhere", &[Landlock, Mounts], |target| {
        let path = c_path(&target.canary);
        // SAFETY: a C string that outlives the call.
        check(unsafe { libc::truncate(path.as_ptr(), 0) })
    }),
    grave("remove a file elsewhere", &[Landlock, Mounts], |target| fs::remove_file(&target.canary)),
    grave("change the mode of a file elsewhere", &[Mounts, Seccomp], |target| {
        fs::set_permissions(&target.canary, fs::Permissions::from_mode(0o644))
    }),
    grave("bring a file in by a hard link", &[Landlock, Mounts, Seccomp], |target| {
        fs::hard_link(&target.canary, target.output.join("mine"))
    }),
    grave("move an output over a file elsewhere", &[Landlock, Mounts], |target| {
        fs::write(target.output.join("mine"), "forged")?;
        fs::rename(target.output.join("mine"), &target.canary)
    }),
    grave("make a link among the outputs", &[Landlock, Seccomp], |target| {
        symlink(&target.canary, target.output.join("second"))
    }),
    grave("overwrite the input", &[Landlock, Mounts], |target| fs::write(&target.input, "forged")),
    grave("make a file in /tmp", &[Landlock, Mounts], |_| {
        let path = format!("/tmp/ffrtmp-attack-{}", std::process::id());
        fs::write(&path, "!")?;
        fs::remove_file(&path)
    }),
    grave("make a device", &[Capabilities, Landlock, Mounts, Seccomp], |target| {
        let path = c_path(&target.output.join("device"));
        // SAFETY: a C string that outlives the call.
        check(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 3)) })?;
        File::open(target.output.join("device")).map(drop)
    })
    .only(Who::Root),
    grave("read the environment of a sibling", &[Landlock, Mounts], |target| {
        fs::read(format!("/proc/{}/environ", target.sibling)).map(drop)
    }),
    grave("read the memory of a sibling as a file", &[Landlock, Mounts], |target| {
        let memory = File::open(format!("/proc/{}/mem", target.sibling))?;
        memory.read_at(&mut [0; 8], target.address as u64).map(drop)
    }),
    grave("connect to a TCP server", &[Landlock, Network, Seccomp], |target| {
        TcpStream::connect(("127.0.0.1", target.tcp)).map(drop)
    }),
    grave("send a datagram", &[Network, Seccomp], |target| {
        UdpSocket::bind("127.0.0.1:0")?.send_to(b"!", ("127.0.0.1", target.udp)).map(drop)
    }),
    grave("connect to an abstract socket", &[Landlock, Network, Seccomp], |target| {
        UnixStream::connect_addr(&SocketAddr::from_abstract_name(&target.abstract_socket)?).map(drop)
    }),
    grave("connect to a socket in the file system", &[Mounts, Seccomp], |target| {
        UnixStream::connect(&target.socket).map(drop)
    }),
    grave("execute /bin/sh", &[Landlock, Mounts, Seccomp], |_| {
        Err(Command::new("/bin/sh").args(["-c", &format!("echo {SUCCEEDED}")]).exec())
    }),
    grave("execute an output", &[Landlock, Mounts, Seccomp], |target| {
        let path = target.output.join("program");
        fs::write(&path, format!("#!/bin/sh\necho {SUCCEEDED}\n"))?;
        let c_path = c_path(&path);
        // SAFETY: a C string that outlives the call.
        check(unsafe { libc::chmod(c_path.as_ptr(), 0o755) })
            .or_else(|_| File::open(&path)?.set_permissions(fs::Permissions::from_mode(0o755)))?;
        Err(Command::new(&path).exec())
    }),
    grave("become root by a set-user-id program", &[Landlock, Mounts, NoNewPrivs, Seccomp], |target| {
        Err(Command::new(&target.privileged).arg(&target.of_root).exec())
    })
    .only(Who::Ordinary)
    .prepared_by_root(),
    other("execute a program in memory", &[Seccomp], |_| {
        // SAFETY: C strings and arrays that outlive the calls.
        unsafe {
            let fd = libc::memfd_create(c"program".as_ptr(), 0);
            check(fd)?;
            let script = format!("#!/bin/sh\necho {SUCCEEDED}\n");
            check_size(libc::write(fd, script.as_ptr().cast(), script.len()))?;
            let args = [c"program".as_ptr(), ptr::null()];
            check(libc::fexecve(fd, args.as_ptr(), [ptr::null()].as_ptr()))
        }
    }),
    other("trace a sibling", &[Landlock, Seccomp], |target| {
        // SAFETY: attaching names no memory.
        check_size(unsafe { libc::ptrace(libc::PTRACE_SEIZE, target.sibling, 0, 0) } as isize)
    }),
    other("read the memory of a sibling", &[Landlock, Seccomp], |target| {
        let mut read = [0_u8; 8];
        let mine = libc::iovec { iov_base: read.as_mut_ptr().cast(), iov_len: read.len() };
        let theirs = libc::iovec { iov_base: target.address as *mut libc::c_void, iov_len: read.len() };
        // SAFETY: `mine` is valid for writes; `theirs` is checked by the kernel.
        check_size(unsafe { libc::process_vm_readv(target.sibling, &raw const mine, 1, &raw const theirs, 1, 0) })
    }),
    other("kill a sibling", &[Landlock, Seccomp], |target| {
        // SAFETY: numbers only.
        check(unsafe { libc::kill(target.sibling, libc::SIGKILL) })
    }),
    other("kill a sibling by its thread", &[Landlock, Seccomp], |target| {
        // SAFETY: numbers only.
        check_size(unsafe { libc::syscall(libc::SYS_tkill, target.sibling, libc::SIGKILL) } as isize)
    }),
    other("kill a sibling by its descriptor", &[Landlock, Seccomp], |target| {
        // SAFETY: numbers and a null pointer, which means the default.
        unsafe {
            let pidfd = libc::syscall(libc::SYS_pidfd_open, target.sibling, 0);
            check_size(pidfd as isize)?;
            check_size(libc::syscall(libc::SYS_pidfd_send_signal, pidfd, libc::SIGKILL, ptr::null::<()>(), 0) as isize)
        }
    }),
    // The kernel counts no processes of root: limits hold it together with another user.
    other("fork a hundred thousand processes", &[Rlimits, Seccomp], |_| {
        // A thousand stand for them; each ends with this process.
        for _ in 0..1000 {
            // SAFETY: the child makes async-signal-safe calls only.
            match unsafe { libc::fork() } {
                -1 => return Err(io::Error::last_os_error()),
                // SAFETY: as above.
                0 => unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::alarm(10);
                    libc::pause();
                    libc::_exit(0)
                },
                _ => {}
            }
        }
        Ok(())
    })
    .where_root(&[Seccomp]),
    other("start a hundred thousand threads", &[Rlimits], |_| {
        let started: io::Result<Vec<_>> =
            (0..2000).map(|_| std::thread::Builder::new().stack_size(64 << 10).spawn(std::thread::park)).collect();
        started.map(drop)
    })
    .where_root(&[]),
    other("take 8 GB of memory", &[Rlimits], |_| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping wherever the kernel likes, never touched.
        let memory = unsafe { libc::mmap(ptr::null_mut(), 8 << 30, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if memory == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }),
    other("write a file of 1 GB", &[Rlimits], |target| {
        let file = File::create(target.output.join("large"))?;
        file.set_len(1 << 30)?;
        file.write_at(b"!", (1 << 30) - 1).map(drop)
    }),
    other("open a hundred thousand files", &[Rlimits], |target| {
        // As many as an agent's own limit is likely to allow.
        (0..4000).map(|_| File::open(&target.input)).collect::<io::Result<Vec<_>>>().map(drop)
    }),
    other("ask for core dumps", &[Rlimits], |_| {
        let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
        // SAFETY: `limit` is valid for reads.
        check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) })
    }),
    other("mount a file system", &[Capabilities, Landlock, Seccomp], |_| {
        // SAFETY: C strings that outlive the call; the mount ends with the namespace.
        unsafe {
            check(libc::unshare(libc::CLONE_NEWNS))?;
            check(libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), libc::MS_REC | libc::MS_PRIVATE, ptr::null()))?;
            check(libc::mount(c"none".as_ptr(), c"/proc".as_ptr(), c"tmpfs".as_ptr(), 0, ptr::null()))
        }
    })
    .only(Who::Root),
    other("make a user namespace", &[Seccomp], |_| {
        // SAFETY: numbers only.
        check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })
    })
    .only(Who::Ordinary),
    other("escape by chroot", &[Capabilities, Seccomp], |target| {
        let path = c_path(&target.output);
        // SAFETY: a C string that outlives the call.
        check(unsafe { libc::chroot(path.as_ptr()) })
    })
    .only(Who::Root),
    other("become root again", &[Capabilities, Seccomp], |_| {
        // SAFETY: numbers only.
        unsafe {
            // Root is asked to change to somebody and back.
            check(libc::setresuid(1, 0, 0))?;
            check(libc::setresuid(0, 0, 0))
        }
    })
    .only(Who::Root),
    other("take the processor by real-time priority", &[Capabilities, Seccomp], |_| {
        let parameters = libc::sched_param { sched_priority: 1 };
        // SAFETY: `parameters` is valid for reads.
        check(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) })
    })
    .only(Who::Root),
    other("make a ring of system calls", &[Seccomp], |_| {
        let mut parameters = [0_u8; 120];
        // SAFETY: `parameters` has the size that the kernel fills.
        check_size(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) } as isize)
    }),
    other("keep a key in the kernel", &[Seccomp], |_| {
        // SAFETY: C strings and a buffer that outlive the call.
        let key = unsafe {
            libc::syscall(libc::SYS_add_key, c"user".as_ptr(), c"ffrtmp".as_ptr(), b"x".as_ptr(), 1_usize, -1_i32)
        };
        check_size(key as isize)
    }),
];

fn c_path(path: &std::path::Path) -> std::ffi::CString {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_os_str().as_bytes()).expect("no NUL in a scratch path")
}

fn check(result: libc::c_int) -> io::Result<()> {
    check_size(result as isize)
}

fn check_size(result: isize) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
