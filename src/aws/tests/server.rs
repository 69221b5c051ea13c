//! A server that answers by script, one step for each request, and keeps what it was sent.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What to do with one request.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Read it whole, then send these bytes.
    Say(String),
    /// Read it whole, then close without a word.
    Cut,
    /// Read the head, then so many bytes of the body, then close.
    CutAfter(usize),
    /// Read the head, then nothing more, and never answer.
    Hang,
}

/// One request as it came over the wire.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Seen {
    /// Every value of a header, whatever its case.
    pub(super) fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    pub(super) fn request_line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    /// Answers with `steps` in their order; the last one holds for all that follow.
    pub(super) async fn start(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, seen: Arc::default(), connections: Arc::default() };
        let (this, next) = (server.clone(), Arc::new(Mutex::new(0)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *this.connections.lock().unwrap() += 1;
                tokio::spawn(this.clone().serve(stream, steps.clone(), Arc::clone(&next)));
            }
        });
        server
    }

    async fn serve(self, mut stream: TcpStream, steps: Vec<Step>, next: Arc<Mutex<usize>>) {
        let mut buffer = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                    break at + 4;
                }
                if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                    return;
                }
            };
            let mut seen = Seen { head: String::from_utf8_lossy(&buffer[..end]).into_owned(), body: Vec::new() };
            buffer.drain(..end);
            let step = {
                let mut next = next.lock().unwrap();
                let step = steps.get(*next).or(steps.last()).cloned().unwrap();
                *next += 1;
                step
            };
            let length: usize = seen.header("content-length").first().map_or(0, |v| v.parse().unwrap());
            let wanted = match step {
                Step::Say(_) | Step::Cut => length,
                Step::CutAfter(bytes) => bytes,
                Step::Hang => 0,
            };
            while buffer.len() < wanted {
                if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            seen.body = buffer.drain(..wanted.min(buffer.len())).collect();
            self.seen.lock().unwrap().push(seen);
            match step {
                Step::Say(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                Step::Cut | Step::CutAfter(_) => return,
                Step::Hang => std::future::pending().await,
            }
        }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

/// An answer with a body; `headers` are whole lines.
pub(super) fn say(status: u16, headers: &[&str], body: &str) -> Step {
    let extra: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    Step::Say(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{extra}\r\n{body}", body.len()))
}

/// A JSON error as Connect writes it.
pub(super) fn error(status: u16, code: &str, headers: &[&str], body: &str) -> Step {
    let mut lines = vec!["content-type: application/json", "x-amzn-requestid: r-1"];
    let kind = format!("x-amzn-errortype: {code}");
    lines.push(&kind);
    lines.extend(headers);
    say(status, &lines, body)
}
