//! The bytes of one upload: read from an open file, counted and hashed on their way, with flat memory.
//!
//! Invariants 6 and 7: exactly the declared number of bytes goes out, or the transfer breaks off before its last
//! chunk, so that the server can never take a file of another length. The reader looks past the declared end
//! before it lets that last chunk go.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::answer::Sent;
use crate::types::ContentHash;

/// What one read takes, and the size of the chunks on their way.
const CHUNK: usize = 256 * 1024;
/// Chunks between reader and socket: the next ones are read and hashed while one is sent, in 1 MiB at most.
const IN_FLIGHT: usize = 2;

/// A file to upload, opened by the caller and declared with its size. Reads from offset 0, wherever the file's
/// own position is.
#[derive(Debug)]
pub struct Body {
    file: Arc<File>,
    size: u64,
}

impl Body {
    /// `size` is the one declared in the start call, in bytes.
    pub fn new(file: impl Into<Arc<File>>, size: u64) -> Self {
        Self { file: file.into(), size }
    }

    /// The declared size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Begins to read. The second part tells the outcome once the stream has ended or was dropped.
    pub(super) fn open(self) -> Result<(Stream, Outcome), io::Error> {
        let outcome = Outcome(Arc::new(OnceLock::new()));
        if self.size <= CHUNK as u64 {
            // One read of a small file costs less than handing it to another thread; the page cache has it, for
            // it was hashed moments ago.
            let (chunk, sent) = read_small(&self.file, self.size)?;
            outcome.set(Ok(sent));
            return Ok((Stream { source: Source::One(Some(chunk)), left: self.size }, outcome));
        }
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let size = self.size;
        let pieces = Pieces { file: self.file, size, at: 0, hasher: Sha256::new(), outcome: outcome.clone() };
        let stream = Stream { source: Source::Many(receiver), left: self.size };
        #[cfg(test)]
        if crate::host::simulated::is_on() {
            tokio::spawn(send_simulated(pieces, sender));
            return Ok((stream, outcome));
        }
        // Ends by itself: with the file, with an error, or when the receiver is dropped.
        #[expect(clippy::disallowed_methods, reason = "it waits for its receiver; the simulation has its own")]
        tokio::task::spawn_blocking(move || {
            for piece in pieces {
                if sender.blocking_send(piece).is_err() {
                    break;
                }
            }
        });
        Ok((stream, outcome))
    }
}

/// What became of the reading, known once it ended.
#[derive(Debug, Clone)]
pub(super) struct Outcome(Arc<OnceLock<io::Result<Sent>>>);

impl Outcome {
    fn set(&self, result: io::Result<Sent>) {
        let _ = self.0.set(result);
    }

    /// Count and hash; `None` when the reading did not come to its end.
    pub(super) fn sent(&self) -> Option<Sent> {
        self.0.get()?.as_ref().ok().copied()
    }

    /// Why the reading broke off, if the file was the cause.
    pub(super) fn file_error(&self) -> Option<&io::Error> {
        self.0.get()?.as_ref().err()
    }
}

fn shorter(at: u64, size: u64) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the file ended after {at} of {size} bytes"))
}

fn longer(size: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the file grew beyond {size} bytes"))
}

fn read_small(file: &File, size: u64) -> io::Result<(Bytes, Sent)> {
    #[cfg(test)]
    crate::host::simulated::sent_read(file).map_err(io::Error::from)?;
    let size_here = usize::try_from(size).map_err(io::Error::other)?;
    // One byte more than declared, to see whether the file grew.
    let mut buffer = vec![0; size_here + 1];
    let read = fill(file, &mut buffer, 0)?;
    if read < size_here {
        return Err(shorter(read as u64, size));
    }
    if read > size_here {
        return Err(longer(size));
    }
    buffer.truncate(size_here);
    let hash = ContentHash(Sha256::digest(&buffer).into());
    Ok((Bytes::from(buffer), Sent { bytes: size, hash }))
}

/// A file read chunk by chunk. The outcome stands before anybody can see the end of the stream.
struct Pieces {
    file: Arc<File>,
    size: u64,
    at: u64,
    hasher: Sha256,
    outcome: Outcome,
}

impl Pieces {
    fn read(&mut self) -> io::Result<Bytes> {
        #[cfg(test)]
        crate::host::simulated::sent_read(&*self.file).map_err(io::Error::from)?;
        let wanted = usize::try_from(self.size - self.at).unwrap_or(CHUNK).min(CHUNK);
        let mut buffer = vec![0; wanted];
        let read = fill(&self.file, &mut buffer, self.at)?;
        if read < wanted {
            return Err(shorter(self.at + read as u64, self.size));
        }
        self.hasher.update(&buffer);
        self.at += wanted as u64;
        if self.at == self.size {
            if fill(&self.file, &mut [0], self.size)? != 0 {
                return Err(longer(self.size));
            }
            let hash = ContentHash(self.hasher.finalize_reset().into());
            self.outcome.set(Ok(Sent { bytes: self.at, hash }));
        }
        Ok(Bytes::from(buffer))
    }
}

impl Iterator for Pieces {
    type Item = io::Result<Bytes>;

    /// Ends with the file or with its first error.
    fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.at >= self.size {
            return None;
        }
        Some(self.read().map_err(|error| {
            let told = io::Error::new(error.kind(), error.to_string());
            self.outcome.set(Err(error));
            self.at = self.size;
            told
        }))
    }
}

/// In the simulation, time goes by between two pieces, in which the file can change and the process be killed.
#[cfg(test)]
async fn send_simulated(pieces: Pieces, sender: mpsc::Sender<io::Result<Bytes>>) {
    use crate::host::{simulated, time};
    for piece in pieces {
        if sender.send(piece).await.is_err() {
            break;
        }
        simulated::point("within a body").await;
        time::sleep(std::time::Duration::from_millis(400)).await;
    }
}

/// Reads until `buffer` is full or the file ends.
fn fill(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[derive(Debug)]
enum Source {
    One(Option<Bytes>),
    Many(mpsc::Receiver<io::Result<Bytes>>),
}

/// The chunks in order, with an exact length known beforehand.
#[derive(Debug)]
pub(super) struct Stream {
    source: Source,
    /// Bytes not yet handed out.
    left: u64,
}

impl Stream {
    /// Bytes not yet handed out.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next chunk; `None` after the last one, which may be early when the reader died.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let next = match &mut self.source {
            Source::One(chunk) => Poll::Ready(chunk.take().filter(|chunk| !chunk.is_empty()).map(Ok)),
            Source::Many(receiver) => Pin::new(receiver).poll_recv(cx),
        };
        if let Poll::Ready(Some(Ok(chunk))) = &next {
            self.left = self.left.saturating_sub(chunk.len() as u64);
        }
        next
    }
}
