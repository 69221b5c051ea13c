//! A client of the tests' own: HTTP/1.1 over a plain socket and a second, independent writing of SigV4, so that every
//! byte of a request can be got wrong on purpose.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use casedrop_sandbox::{DEMO_CASE_ID, Millis, Sandbox, Settings};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub struct Bench {
    pub sandbox: Sandbox,
    pub state: TempDir,
    pub secret: String,
    pub region: String,
    /// Added to the time of signatures.
    pub skew_ms: i64,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Error type of an API answer, or `ok`.
    pub fn kind(&self) -> &str {
        self.headers.get("x-amzn-errortype").map_or("ok", String::as_str)
    }

    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// `<Code>` of an S3 answer, or `ok`.
    pub fn code(&self) -> String {
        let text = self.text();
        let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        code.map_or("ok", |(code, _)| code).to_owned()
    }
}

/// A started upload.
pub struct Upload {
    pub file_id: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub answer: Value,
}

fn hmac(key: &[u8], data: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(data.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

pub fn compact(at: Millis) -> String {
    let text = at.to_string();
    format!("{}Z", &text[..19]).replace(['-', ':'], "")
}

/// Sends one request and reads the answer to the end of the connection.
pub fn exchange(address: SocketAddr, head: &str, body: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(300)))?;
    stream.write_all(head.as_bytes())?;
    // A server that refuses early may close while we write; its answer is what counts.
    let _ = stream.write_all(body);
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let end = all
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "no answer"))?;
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok()).unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Answer { status, headers, body: all[end + 4..].to_vec() })
}

impl Bench {
    pub async fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(state.path());
        change(&mut settings);
        let sandbox = Sandbox::start(settings).await.unwrap();
        Self::around(sandbox, state)
    }

    pub fn around(sandbox: Sandbox, state: TempDir) -> Self {
        let secret = sandbox.secret_access_key().to_owned();
        let region = sandbox.region().to_owned();
        Self { sandbox, state, secret, region, skew_ms: 0 }
    }

    pub fn case_arn(&self) -> String {
        format!("{}/case/{DEMO_CASE_ID}", self.sandbox.domain_arn())
    }

    /// Head of a signed API request.
    pub fn signed_head(&self, service: &str, method: &str, target: &str, body: &[u8]) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let host = self.sandbox.address();
        let when = compact(Millis(Millis::wall().0 + self.skew_ms));
        let date = &when[..8];
        let mut pairs: Vec<&str> = query.split('&').filter(|p| !p.is_empty()).collect();
        pairs.sort_unstable();
        let path = path.split('/').map(encode).collect::<Vec<_>>().join("/");
        let canonical = format!(
            "{method}\n{path}\n{}\nhost:{host}\nx-amz-date:{when}\n\nhost;x-amz-date\n{}",
            pairs.join("&"),
            sha256(body)
        );
        let scope = format!("{date}/{}/{service}/aws4_request", self.region);
        let to_sign = format!("AWS4-HMAC-SHA256\n{when}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in [date, &self.region, service, "aws4_request"] {
            key = hmac(&key, part);
        }
        let signature = hex(&hmac(&key, &to_sign));
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-Amz-Date: {when}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential={}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.sandbox.access_key_id(),
            body.len()
        )
    }

    pub fn try_call(&self, service: &str, method: &str, target: &str, body: &str) -> io::Result<Answer> {
        let head = self.signed_head(service, method, target, body.as_bytes());
        exchange(self.sandbox.address(), &head, body.as_bytes())
    }

    pub fn call(&self, service: &str, method: &str, target: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.try_call(service, method, target, &body).unwrap()
    }

    fn files_target(&self, arn: &str, file_id: Option<&str>) -> String {
        let id = file_id.map_or(String::new(), |id| format!("/{id}"));
        format!("/attached-files/{}{id}?associatedResourceArn={}", self.sandbox.instance_id(), encode(arn))
    }

    pub fn start_body(name: &str, size: u64, token: &str) -> Value {
        json!({ "FileName": name, "FileSizeInBytes": size, "FileUseCaseType": "ATTACHMENT", "ClientToken": token })
    }

    pub fn start_with(&self, arn: &str, body: &Value) -> Answer {
        self.call("connect", "PUT", &self.files_target(arn, None), body)
    }

    pub fn try_start(&self, name: &str, size: u64, token: &str) -> Answer {
        self.start_with(&self.case_arn(), &Self::start_body(name, size, token))
    }

    pub fn start(&self, name: &str, size: u64, token: &str) -> Upload {
        Self::upload(self.try_start(name, size, token).ok())
    }

    pub fn upload(answer: Value) -> Upload {
        let url = &answer["UploadUrlMetadata"];
        let headers = url["HeadersToInclude"].as_object().unwrap();
        Upload {
            file_id: answer["FileId"].as_str().unwrap().to_owned(),
            url: url["Url"].as_str().unwrap().to_owned(),
            headers: headers.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect(),
            answer,
        }
    }

    pub fn target_of<'a>(&self, url: &'a str) -> &'a str {
        url.strip_prefix(&self.sandbox.endpoint_url()).unwrap()
    }

    pub fn put_head(&self, url: &str, headers: &[(String, String)]) -> String {
        let mut head = format!(
            "PUT {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.target_of(url),
            self.sandbox.address()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }

    pub fn try_put(&self, upload: &Upload, content: &[u8]) -> io::Result<Answer> {
        exchange(self.sandbox.address(), &self.put_head(&upload.url, &upload.headers), content)
    }

    pub fn put(&self, upload: &Upload, content: &[u8]) -> Answer {
        self.try_put(upload, content).unwrap()
    }

    pub fn get_url(&self, url: &str) -> Answer {
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.target_of(url),
            self.sandbox.address()
        );
        exchange(self.sandbox.address(), &head, b"").unwrap()
    }

    pub fn complete(&self, file_id: &str) -> Answer {
        self.call("connect", "POST", &self.files_target(&self.case_arn(), Some(file_id)), &Value::Null)
    }

    pub fn get(&self, file_id: &str) -> Answer {
        self.call("connect", "GET", &self.files_target(&self.case_arn(), Some(file_id)), &Value::Null)
    }

    pub fn delete(&self, file_id: &str) -> Answer {
        self.call("connect", "DELETE", &self.files_target(&self.case_arn(), Some(file_id)), &Value::Null)
    }

    pub fn batch(&self, ids: &[&str]) -> Answer {
        self.call("connect", "POST", &self.files_target(&self.case_arn(), None), &json!({ "FileIds": ids }))
    }

    pub fn status(&self, file_id: &str) -> String {
        let answer = self.batch(&[file_id]).ok();
        answer["Files"][0]["FileStatus"].as_str().unwrap_or("absent").to_owned()
    }

    pub fn cases(&self, rest: &str, body: &Value) -> Answer {
        self.call("cases", "POST", &format!("/domains/{}{rest}", self.sandbox.domain_id()), body)
    }

    pub fn items(&self, body: &Value) -> Answer {
        self.cases(&format!("/cases/{DEMO_CASE_ID}/related-items-search"), body)
    }

    /// Start, PUT and Complete of a small text.
    pub fn whole(&self, name: &str, token: &str) -> Upload {
        let upload = self.start(name, 5, token);
        assert_eq!(self.put(&upload, b"hello").status, 200);
        self.complete(&upload.file_id).ok();
        upload
    }
}

/// Waits until `done`, or fails after five minutes, which only a failure takes.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !done() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::yield_now();
    }
}
