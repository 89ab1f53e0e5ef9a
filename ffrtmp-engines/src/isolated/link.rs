//! Packets with descriptors: how an agent and its fork server speak. One packet is one frame; a
//! socket of this kind keeps them apart, and carries descriptors beside the bytes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{Broken, Inbox, frame};

/// Most bytes of a packet; what servers and agents say is short.
const MAX_PACKET: usize = 16 << 10;
/// Most descriptors beside one.
const MAX_DESCRIPTORS: usize = 4;

/// One end of a connection for packets.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

/// A packet that arrived.
#[derive(Debug)]
pub(super) enum Received<M> {
    /// What it says, and what it carries.
    Message(M, Vec<OwnedFd>),
    /// The other side is gone.
    Gone,
    /// Nothing has come yet.
    Nothing,
}

/// Why nothing can be understood any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl Link {
    /// Two ends; neither blocks, and neither survives exec.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(one), Self(other)))
    }

    /// Takes over a descriptor that must be such an end.
    pub(super) fn over(descriptor: OwnedFd) -> io::Result<Self> {
        if sockopt::socket_type(&descriptor)? != SocketType::SEQPACKET {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        Ok(Self(descriptor))
    }

    /// The descriptor, for a child's standard input.
    pub(super) fn into_descriptor(self) -> OwnedFd {
        self.0
    }

    /// Sends a message with descriptors, waiting for room as long as `patience`.
    pub(super) fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
        patience: Duration,
    ) -> Result<(), LinkError> {
        let bytes = frame(message)?;
        if bytes.len() > MAX_PACKET {
            return Err(Broken::TooLong(bytes.len()).into());
        }
        let until = Instant::now() + patience;
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
            }
            match sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut beside, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let left = until.checked_duration_since(Instant::now()).ok_or(io::ErrorKind::TimedOut);
                    wait_on(&mut [PollFd::new(&self.0, PollFlags::OUT)], left.map_err(io::Error::from)?);
                }
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    /// The next packet, if one is there.
    pub(super) fn receive<M: DeserializeOwned>(&self) -> Result<Received<M>, LinkError> {
        let mut bytes = [0; MAX_PACKET];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut was_reset = false;
        let count = loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received.bytes,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(Received::Nothing),
                // The other end left something unread. What it said before comes after this error.
                Err(rustix::io::Errno::CONNRESET) if !was_reset => was_reset = true,
                Err(rustix::io::Errno::CONNRESET | rustix::io::Errno::PIPE) => return Ok(Received::Gone),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        };
        let descriptors = beside
            .drain()
            .flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(rights) => rights.collect(),
                _ => Vec::new(),
            })
            .collect();
        if count == 0 {
            return Ok(Received::Gone);
        }
        let mut inbox = Inbox::default();
        inbox.fill(&mut &bytes[..count])?;
        match inbox.next()? {
            Some(message) => Ok(Received::Message(message, descriptors)),
            None => Err(Broken::Garbage.into()),
        }
    }

    /// The same, waiting for it as long as `patience`.
    pub(super) fn await_message<M: DeserializeOwned>(&self, patience: Duration) -> Result<Received<M>, LinkError> {
        let until = Instant::now() + patience;
        loop {
            match self.receive()? {
                Received::Nothing => {}
                received => return Ok(received),
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else { return Ok(Received::Nothing) };
            wait_on(&mut [PollFd::new(&self.0, PollFlags::IN)], left);
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits for one of these, or until the time is over.
pub(super) fn wait_on(fds: &mut [PollFd<'_>], timeout: Duration) {
    let timeout = Timespec { tv_sec: timeout.as_secs().min(60) as i64, tv_nsec: timeout.subsec_nanos().into() };
    // An interrupted wait is a short wait; every caller looks again.
    let _ = poll(fds, Some(&timeout));
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn packets_arrive_whole_with_what_they_carry() {
        let (one, other) = Link::pair().unwrap();
        assert!(matches!(other.receive::<String>().unwrap(), Received::Nothing));
        let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        one.send(&"first", &[far.as_fd()], Duration::ZERO).unwrap();
        one.send(&"second", &[], Duration::ZERO).unwrap();
        drop(far);
        let Received::Message(text, mut carried) = other.receive::<String>().unwrap() else { panic!() };
        assert_eq!((text.as_str(), carried.len()), ("first", 1));
        std::fs::File::from(carried.remove(0)).write_all(b"x").unwrap();
        let mut byte = [0];
        near.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        assert!(matches!(other.receive::<String>().unwrap(), Received::Message(text, _) if text == "second"));
        drop(one);
        assert!(matches!(other.receive::<String>().unwrap(), Received::Gone));
    }

    #[test]
    fn the_last_word_of_one_who_left_something_unread_is_heard() {
        let (one, other) = Link::pair().unwrap();
        other.send(&"unread", &[], Duration::ZERO).unwrap();
        one.send(&"last word", &[], Duration::ZERO).unwrap();
        drop(one);
        assert!(matches!(other.receive::<String>().unwrap(), Received::Message(text, _) if text == "last word"));
        assert!(matches!(other.receive::<String>().unwrap(), Received::Gone));
    }

    #[test]
    fn a_stream_is_no_link() {
        let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Link::over(stream.into()).is_err());
    }
}
