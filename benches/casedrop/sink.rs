//! The cheapest S3 there is: takes PUT requests on loopback and forgets the bytes. It checks no signature and keeps
//! nothing, so that what it is used for (`rclone copy`, `curl -T`) is measured at its best.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use sha2::{Digest as _, Sha256};

const BUFFER_BYTES: usize = 256 * 1024;

/// Starts a sink for the life of this process. With `hash` it computes SHA-256 of each body, as the sandbox does.
pub fn start(hash: bool) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away ends its thread; there is nobody to tell.
            std::thread::spawn(move || serve(&stream, hash));
        }
    })?;
    Ok(address)
}

fn serve(stream: &TcpStream, hash: bool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let (mut length, mut expects, mut lines) = (0_usize, false, 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() && lines > 0 {
                break;
            }
            lines += 1;
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
            expects |= name.eq_ignore_ascii_case("expect");
        }
        let mut out = stream;
        if expects {
            out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut hasher = Sha256::new();
        while length > 0 {
            let most = length.min(BUFFER_BYTES);
            let part = buffer.get_mut(..most).unwrap_or_default();
            let read = reader.read(part)?;
            if read == 0 {
                return Ok(());
            }
            if hash {
                hasher.update(part.get(..read).unwrap_or_default());
            }
            length -= read;
        }
        std::hint::black_box(hasher.finalize());
        // A tag with `-` is no MD5, so that no client compares it.
        out.write_all(b"HTTP/1.1 200 OK\r\nETag: \"0123456789abcdef0123456789abcdef-1\"\r\nContent-Length: 0\r\n\r\n")?;
    }
}
