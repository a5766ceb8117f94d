//! An authorization server of a few lines on loopback, which says of every token the same.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::LazyLock;

use tokio::runtime::Runtime;

/// What questions to it are asked on.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads")
});

const RESPONSE: &str = r#"{"active":true,"sub":"248289761001","client_id":"agent","scope":"mcp:read mcp:write","sid":"s","aud":"https://mcp.example.com/mcp","exp":9999999999}"#;

/// Starts one; gives its URL.
pub(crate) fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(|| answer(stream));
        }
    });
    url
}

/// A token, one of many.
pub(crate) fn token(number: usize) -> String {
    format!("opaque-token-of-some-forty-characters-{number:08}")
}

/// Answers every request on a connection alike.
fn answer(stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.is_empty() {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
        // At once: after a part of it, the rest would wait until the part is acknowledged.
        let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{RESPONSE}", RESPONSE.len());
        stream.write_all(answer.as_bytes()).ok()?;
    }
}
