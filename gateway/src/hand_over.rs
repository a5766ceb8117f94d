//! ① Binary upgrade: a new process of the same command takes over the sockets, and this one ends.
//!
//! On SIGUSR2 the program is started once more, from where it was started: what lies there now may be a newer version. It
//! gets its end of a socket pair as standard input, and over that the sockets that this process listens on. It reads the
//! configuration, builds all it needs, begins to accept, and says so; only then does this process stop accepting, finishes
//! what is under way, and ends. Whatever goes wrong before that leaves this process at work as if nothing had happened.
//!
//! What is started first only starts the new process, and ends. So that one is a child of the service manager, which can wait
//! for its children alone: systemd would kill any other process at once when it is to end, whatever is under way.
//!
//! Nothing of it can be reached from outside: there is no path to a socket that somebody else could connect to.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// What the new process is told on its command line.
pub const ARGUMENT: &str = "--upgrade";

/// And what the process is told that starts it.
pub const DETACH: &str = "--detach";

/// How long the new process may take until it serves.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many sockets can be handed over: what the system takes at once.
const MAX_SOCKETS: usize = 253;

/// The longest message about them, in bytes.
const LONGEST_MESSAGE: usize = 32 * 1024;

/// What the new process says when it serves.
const SERVING: &[u8] = b"serving\n";

/// Sockets, by the addresses that the configuration has for them.
#[derive(Debug, Default)]
pub struct Sockets(Vec<(Purpose, TcpListener)>);

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Requests of agents, at this address.
    Listener(SocketAddr),
    /// Requests of the operator, at this address.
    Admin(SocketAddr),
}

/// The process whose sockets we have, which ends when we serve.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

/// Why the sockets stay with this process.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// The system refuses something.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The new process has ended, or did not begin to serve in time.
    #[error("the new process did not begin to serve; it says why in its own log")]
    NotServing,
}

impl Sockets {
    /// The socket for this purpose, if there is one; it is there once.
    pub fn take(&mut self, purpose: Purpose) -> Option<TcpListener> {
        let position = self.0.iter().position(|(own, _)| *own == purpose)?;
        Some(self.0.swap_remove(position).1)
    }

    /// What a process of ours sent to our standard input.
    ///
    /// # Errors
    /// When standard input is nothing of that kind.
    pub fn receive() -> io::Result<(Self, Predecessor)> {
        let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let mut message = vec![0; LONGEST_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let length =
            recvmsg(&channel, &mut [IoSliceMut::new(&mut message)], &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        (&channel).write_all(&std::process::id().to_ne_bytes())?;
        let received = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
            _ => None,
        });
        let sockets: Vec<OwnedFd> = received.flatten().collect();
        let purposes: Vec<Purpose> = serde_json::from_slice(message.get(..length).unwrap_or_default())?;
        if purposes.len() != sockets.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the sockets are not all there"));
        }
        Ok((Self(purposes.into_iter().zip(sockets.into_iter().map(TcpListener::from)).collect()), Predecessor(channel)))
    }
}

impl Predecessor {
    /// Tells it that we serve. It may have ended already.
    pub fn relieve(mut self) {
        let _ = self.0.write_all(SERVING);
    }
}

/// Starts the process that takes over. It lives on when this one ends, which is to be now.
///
/// # Errors
/// What the system says.
pub fn detach() -> io::Result<()> {
    this_program()?.arg(ARGUMENT).spawn().map(drop)
}

/// Starts the program once more and hands it `sockets`; gives its process id when it serves. Blocks.
///
/// # Errors
/// [`HandOverError`]: this process has to go on then.
pub fn hand_over(sockets: &[(Purpose, OwnedFd)]) -> Result<u32, HandOverError> {
    let (mut own, theirs) = UnixStream::pair()?;
    let mut command = this_program()?;
    command.args([ARGUMENT, DETACH]).stdin(OwnedFd::from(theirs));
    let mut starter = command.spawn()?;
    // Its end of the pair must be open nowhere else, or its end would not be noticed.
    drop(command);
    let mut process = None;
    let handed_over = send(&own, sockets).and_then(|()| {
        own.set_read_timeout(Some(PATIENCE))?;
        let mut id = [0; size_of::<u32>()];
        own.read_exact(&mut id)?;
        let id = u32::from_ne_bytes(id);
        process = open(id)?;
        let mut said = [0; SERVING.len()];
        own.read_exact(&mut said)?;
        Ok(id)
    });
    end(&mut starter);
    match handed_over {
        Ok(id) => Ok(id),
        Err(error) => {
            // A process that does not serve must not begin to later.
            if let Some(process) = process {
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
            match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionReset => {
                    Err(HandOverError::NotServing)
                }
                _ => Err(error.into()),
            }
        }
    }
}

/// What was started as this process was, without what was said about handing over.
fn this_program() -> io::Result<Command> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(arguments.next().ok_or(io::ErrorKind::NotFound)?);
    command.args(arguments.filter(|argument| argument != ARGUMENT && argument != DETACH));
    Ok(command)
}

/// A process that is no child of ours, to be sure that it is still the same when it is to end.
fn open(id: u32) -> io::Result<Option<OwnedFd>> {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    Ok(id.map(|id| pidfd_open(id, PidfdFlags::empty())).transpose()?)
}

fn send(channel: &UnixStream, sockets: &[(Purpose, OwnedFd)]) -> io::Result<()> {
    let message = serde_json::to_vec(&sockets.iter().map(|(purpose, _)| purpose).collect::<Vec<_>>())?;
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if message.len() > LONGEST_MESSAGE || !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there are too many sockets"));
    }
    let sent = sendmsg(channel, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == message.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// It has ended by itself, unless another program lies where this one was.
fn end(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}
