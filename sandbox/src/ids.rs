//! Names that AWS could never issue: account, region, credentials, ids and ARNs of the sandbox.
//!
//! Everything here is recognisable at a glance, so that nothing of the sandbox can be mistaken for the real
//! service, and nothing of the real service is accepted by the sandbox. ARN forms: SERVICE.md 3.2.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

/// Partition in every ARN of the sandbox.
pub const PARTITION: &str = "aws-sandbox";
/// Account number in every ARN of the sandbox.
pub const ACCOUNT: &str = "000000000000";
/// Region the sandbox answers for.
pub const REGION: &str = "sandbox-1";
/// Access key id the sandbox accepts; AWS's own are 20 capitals and digits.
pub const ACCESS_KEY_ID: &str = "casedrop-sandbox";
/// Secret that belongs to [`ACCESS_KEY_ID`]. It protects nothing: it opens a loopback server only.
pub const SECRET_ACCESS_KEY: &str = "not-a-secret";
/// The one Connect instance.
pub const INSTANCE_ID: &str = "5a5d0000-0000-4000-8000-000000000001";
/// The one Cases domain.
pub const DOMAIN_ID: &str = "5a5d0000-0000-4000-8000-000000000002";
/// Template every case is made from.
pub(crate) const TEMPLATE_ID: &str = "5a5d0000-0000-4000-8000-000000000003";
/// A case that exists in every sandbox, open, with the reference number [`DEMO_REFERENCE`].
pub const DEMO_CASE_ID: &str = "5a5d0000-0000-4000-8000-0000000000c1";
/// Reference number of [`DEMO_CASE_ID`].
pub const DEMO_REFERENCE: &str = "10000001";

/// Bucket name in the URLs of the presigned PUT and GET.
pub(crate) const BUCKET: &str = "casedrop-sandbox-attachments";
/// Access key id in presigned URLs: at AWS it is the service that signs, with its own credentials.
pub(crate) const SIGNER_KEY_ID: &str = "casedrop-sandbox-service";
/// Secret behind [`SIGNER_KEY_ID`]; it never leaves the process.
pub(crate) const SIGNER_SECRET: &str = "not-a-secret-either";
/// Session token in presigned URLs, there because the real ones carry one.
pub(crate) const SIGNER_TOKEN: &str = "casedrop-sandbox-session";

/// ARN of the instance.
pub(crate) fn instance_arn() -> String {
    format!("arn:{PARTITION}:connect:{REGION}:{ACCOUNT}:instance/{INSTANCE_ID}")
}

/// ARN of the Cases domain.
pub(crate) fn domain_arn() -> String {
    format!("arn:{PARTITION}:cases:{REGION}:{ACCOUNT}:domain/{DOMAIN_ID}")
}

/// ARN of one case.
pub(crate) fn case_arn(case_id: &str) -> String {
    format!("{}/case/{case_id}", domain_arn())
}

/// ARN of one attached file.
pub(crate) fn file_arn(file_id: &str) -> String {
    format!("{}/file/{file_id}", instance_arn())
}

/// Identity shown in `CreatedBy` when the caller names no Connect user (SERVICE.md 2.6).
pub(crate) fn caller_arn() -> String {
    format!("arn:{PARTITION}:sts::{ACCOUNT}:assumed-role/casedrop/sandbox")
}

/// ARN of a made-up agent, used for seeded foreign files.
pub(crate) fn agent_arn() -> String {
    format!("{}/agent/5a5d0000-0000-4000-8000-00000000a6e7", instance_arn())
}

/// Whether `text` has the form of a UUID: 8-4-4-4-12 hexadecimal digits.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Makes UUIDs that do not repeat within a process nor, but by a 2⁻⁶⁴ chance, between two.
#[derive(Debug)]
pub(crate) struct IdSource {
    nonce: u64,
    next: AtomicU64,
}

impl IdSource {
    pub(crate) fn new() -> Self {
        // The standard library seeds each RandomState from the system: entropy without another crate.
        Self::seeded(RandomState::new().build_hasher().finish())
    }

    /// The same ids for the same seed.
    pub(crate) fn seeded(nonce: u64) -> Self {
        Self { nonce, next: AtomicU64::new(1) }
    }

    /// A fresh id in the form of a random (version 4) UUID.
    pub(crate) fn uuid(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut hash = Sha256::new();
        hash.update(self.nonce.to_le_bytes());
        hash.update(number.to_le_bytes());
        let hex = hex(&hash.finalize());
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!("{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
    }
}

/// Lower-case hexadecimal form of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(DIGITS.get(usize::from(nibble)).copied().unwrap_or('0'));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_differ() {
        let source = IdSource::new();
        let (one, two) = (source.uuid(), source.uuid());
        assert!(is_uuid(&one) && is_uuid(&two));
        assert_ne!(one, two);
        assert_ne!(IdSource::new().uuid(), IdSource::new().uuid());
    }

    #[test]
    fn fixed_ids_are_uuids() {
        for id in [INSTANCE_ID, DOMAIN_ID, TEMPLATE_ID, DEMO_CASE_ID] {
            assert!(is_uuid(id), "{id}");
        }
        assert!(!is_uuid("5a5d0000x0000-4000-8000-000000000001"));
    }
}
