//! What systemd is told of us, where it asks to be (`Type=notify`, sd_notify(3)): that we serve, and who we are now.
//!
//! The latter counts when a new process has taken over from an old one: systemd would take the end of the process that it
//! started for the end of the service, and end the new one with it.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where to tell it.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Tells that this process serves, to whoever started the service and wants to know.
pub fn serving() {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    if let Err(error) = tell(&socket, &format!("READY=1\nMAINPID={}", std::process::id())) {
        tracing::warn!(%error, "cannot tell the service manager that we serve");
    }
}

fn tell(socket: &OsStr, message: &str) -> io::Result<()> {
    // An at sign stands for the zero byte that begins the name of a socket outside the file system.
    let address = match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_a_path_and_at_a_name_alike() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("phantomgate-test-{}", std::process::id());
        let at_path = UnixDatagram::bind(&path).unwrap();
        let at_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, receiver) in [(path.into_os_string(), at_path), (format!("@{name}").into(), at_name)] {
            tell(&socket, "READY=1").unwrap();

            let mut message = [0; 64];
            let length = receiver.recv(&mut message).unwrap();
            assert_eq!(&message[..length], b"READY=1");
        }
    }

    #[test]
    fn nobody_there_is_an_error_and_no_panic() {
        assert!(tell(OsStr::new("/nonexistent/notify"), "READY=1").is_err());
        assert!(tell(OsStr::new(""), "READY=1").is_err());
    }
}
