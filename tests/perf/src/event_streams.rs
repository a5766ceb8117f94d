//! Event streams: an upstream that sends them, and clients that read them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// How long the first event of a stream is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

const EVENT: &str = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n";

/// An upstream that answers each request with a stream: one event at once, and then, if at all, one each `beat`. It ends
/// when it is dropped.
pub(crate) struct EventSource {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl EventSource {
    /// Starts one.
    pub(crate) fn start(beat: Option<Duration>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(4096).unwrap();
        let (address, mut serving) = (listener.local_addr().unwrap(), JoinSet::new());
        serving.spawn(listen(listener, beat));
        Self { address, _serving: serving }
    }

    /// Its URL, as an endpoint of a configuration.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn listen(listener: TcpListener, beat: Option<Duration>) {
    // They end with this.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, beat));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, beat: Option<Duration>) {
    let chunk = format!("{:x}\r\n{EVENT}\r\n", EVENT.len());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    if read_until(&mut stream, "\r\n\r\n").await.is_err() {
        return;
    }
    if stream.write_all(format!("{head}{chunk}").as_bytes()).await.is_err() {
        return;
    }
    loop {
        let mut byte = [0];
        let next = async {
            match beat {
                Some(beat) => tokio::time::sleep(beat).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = stream.read(&mut byte) => return, // nothing more is sent to it: this is the end
            () = next => if stream.write_all(chunk.as_bytes()).await.is_err() { return },
        }
    }
}

/// A stream that is open, from the client's side. Dropping it closes it.
pub(crate) struct EventStream(TcpStream);

impl EventStream {
    /// Opens one from an address of ours, and waits for its first event.
    pub(crate) async fn open(source: Ipv4Addr, gateway: SocketAddr, path: &str, token: &str) -> Result<Self, String> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {gateway}\r\nAuthorization: Bearer {token}\r\nAccept: text/event-stream\r\n\
             MCP-Protocol-Version: 2025-06-18\r\n\r\n"
        );
        let opened = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((IpAddr::from(source), 0).into())?;
            let mut stream = socket.connect(gateway).await?;
            stream.write_all(request.as_bytes()).await?;
            let head = read_until(&mut stream, "\n\n").await?;
            Ok::<_, std::io::Error>((stream, head))
        };
        match tokio::time::timeout(PATIENCE, opened).await {
            Err(_) => Err(format!("no event within {PATIENCE:?}")),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok((_, head))) if !head.starts_with("HTTP/1.1 200 ") => Err(head),
            Ok(Ok((stream, _))) => Ok(Self(stream)),
        }
    }

    /// Whether it has been ended from the other side. What was sent meanwhile is read and dropped.
    pub(crate) fn has_ended(&self) -> bool {
        let mut some = [0; 4096];
        loop {
            match self.0.try_read(&mut some) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    }
}

/// What is read until this is in it, or until an answer other than a stream has begun. A small buffer, and one that goes:
/// thousands of these are open at once.
async fn read_until(stream: &mut TcpStream, end: &str) -> std::io::Result<String> {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(end) {
        if read.starts_with(b"HTTP/1.1 ") && !read.starts_with(b"HTTP/1.1 200") && read.len() > 12 {
            break;
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&read).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_goes_on_until_one_side_ends_it() {
        let source = EventSource::start(Some(Duration::from_millis(1)));
        let address = source.address;
        let stream = EventStream::open(Ipv4Addr::new(127, 0, 0, 2), address, "/", "token").await.unwrap();
        assert_eq!(stream.0.local_addr().unwrap().ip(), Ipv4Addr::new(127, 0, 0, 2));
        assert!(!stream.has_ended());
        stream.0.readable().await.unwrap(); // the next beat
        drop(source);
        e2e::within("the end of the stream", async {
            while !stream.has_ended() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
