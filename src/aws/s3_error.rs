//! Reads S3's error documents. By hand and leniently: two elements of a small, bounded text, no parser to feed.

/// `<Code>` and `<Message>` of an S3 error; empty where absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct S3Error {
    pub(super) code: String,
    pub(super) message: String,
}

/// Longest text taken out of an element, in bytes.
const LONGEST: usize = 2000;

/// Reads `body`; whatever it is, the result is sound.
pub(super) fn parse(body: &[u8]) -> S3Error {
    let text = String::from_utf8_lossy(body);
    S3Error { code: element(&text, "Code"), message: element(&text, "Message") }
}

fn element(text: &str, name: &str) -> String {
    let inner = || {
        let start = text.find(&format!("<{name}>"))? + name.len() + 2;
        let rest = text.get(start..)?;
        rest.get(..rest.find("</")?.min(rest.floor_char_boundary(LONGEST)))
    };
    unescape(inner().unwrap_or_default().trim())
}

fn unescape(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    // The ampersand last, so that `&amp;lt;` stays `&lt;`.
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn code_and_message_are_found() {
        let body = b"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>Request has expired &amp;lt;\
            </Message><RequestId>1</RequestId></Error>";
        let error = parse(body);
        assert_eq!((error.code.as_str(), error.message.as_str()), ("AccessDenied", "Request has expired &lt;"));
    }

    #[test]
    fn anything_else_is_empty() {
        for body in ["", "<html>", "<Code>", "<Code>x", "{\"Code\":\"x\"}", "</Code><Code>"] {
            assert_eq!(parse(body.as_bytes()), S3Error::default(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(body: Vec<u8>, inner: String) {
            parse(&body);
            let error = parse(format!("<Code>{inner}</Code>").as_bytes());
            prop_assert!(error.code.len() <= LONGEST);
        }
    }
}
