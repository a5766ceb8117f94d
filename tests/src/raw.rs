//! HTTP/1.1 by hand, for requests that no client library would send.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{Gateway, Response, within};

/// A connection to the gateway on which a test writes its own bytes.
pub struct RawConnection {
    stream: BufReader<TcpStream>,
}

impl RawConnection {
    /// Connects.
    pub async fn open(gateway: &Gateway) -> Self {
        Self { stream: BufReader::new(TcpStream::connect(gateway.address()).await.unwrap()) }
    }

    /// Sends `bytes`. The peer may have closed already, having seen enough; its answer will tell.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.get_mut().write_all(bytes.as_ref()).await;
    }

    /// The next answer, or `None` when the peer closed the connection.
    pub async fn response(&mut self) -> Option<Response> {
        within("an answer", self.read_response()).await.ok().flatten()
    }

    /// Every answer until the peer closes; nothing more is sent to it.
    pub async fn responses_until_close(mut self) -> Vec<Response> {
        let _ = self.stream.get_mut().shutdown().await;
        let mut responses = Vec::new();
        while let Some(response) = self.response().await {
            responses.push(response);
        }
        responses
    }

    async fn read_response(&mut self) -> std::io::Result<Option<Response>> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let status = line.split(' ').nth(1).and_then(|code| code.trim().parse::<u16>().ok());
        let status = StatusCode::from_u16(status.unwrap_or_else(|| panic!("not a status line: {line:?}"))).unwrap();
        let headers = self.read_headers().await?;
        let body = self.read_body(status, &headers).await?;
        Ok(Some(Response { status, headers, body: String::from_utf8_lossy(&body).into_owned() }))
    }

    async fn read_headers(&mut self) -> std::io::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(headers) };
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
    }

    async fn read_body(&mut self, status: StatusCode, headers: &HeaderMap) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            return Ok(body);
        }
        if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            while let Some(chunk) = self.read_chunk().await? {
                body.extend(chunk);
            }
        } else if let Some(length) = headers.get("content-length") {
            body.resize(length.to_str().unwrap().parse().unwrap(), 0);
            self.stream.read_exact(&mut body).await?;
        } else {
            self.stream.read_to_end(&mut body).await?;
        }
        Ok(body)
    }

    async fn read_chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        let length = usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("not a chunk size: {line:?}"));
        let mut chunk = vec![0; length + 2];
        self.stream.read_exact(&mut chunk).await?;
        assert_eq!(&chunk[length..], b"\r\n", "the end of a chunk, or a trailer");
        chunk.truncate(length);
        Ok((length > 0).then_some(chunk))
    }
}
