//! What AWS leaves undocumented, as switches (SERVICE.md section 8).
//!
//! [`Switches::DEFAULT`] is our best reading. [`Switches::ALL`] holds the default and every single deviation
//! from it, by name, so that a test can run under each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$vmeta])* $variant),+ }
    };
}

choice! {
    /// Row 1: StartAttachedFileUpload again with the same token and the same parameters.
    TokenReplay {
        /// The same FileId with the same URL; a fresh URL once that one has expired. The default.
        SameUrl,
        /// The same FileId, each time with a fresh URL.
        FreshUrl,
        /// The token means nothing: a new FileId.
        NewFile,
        /// The same FileId and the same URL for ever, dead or not.
        DeadUrl,
    }
}
choice! {
    /// Row 2: the same token with other parameters.
    TokenMismatch {
        /// ResourceConflictException (409). The default.
        ResourceConflict,
        /// InvalidRequestException (400).
        InvalidRequest,
        /// The new parameters are ignored and the first file is answered.
        Ignored,
    }
}
choice! {
    /// Row 1, as lesson 37 and SERVICE.md 2.2 fear it: the token of a file that has been deleted since.
    TokenOfDeleted {
        /// Forgotten with the file: a new FileId. The default.
        NewFile,
        /// Remembered: the FileId of the deleted file is answered again, and nothing can be done with it.
        DeadFile,
    }
}
choice! {
    /// Row 3: the status Start answers, kept until Complete.
    StatusAfterStart {
        /// `PROCESSING`. The default.
        Processing,
        /// `DRAFTING`.
        Drafting,
        /// `PENDING_UPLOAD`, which the public enum lacks.
        PendingUpload,
    }
}
choice! {
    /// Row 3: a file whose URL expired without a PUT.
    AfterUrlExpiry {
        /// Nothing changes. The default.
        Unchanged,
        /// `FAILED`.
        Failed,
        /// `UPLOAD_EXPIRED`, which the public enum lacks.
        UploadExpired,
        /// The record vanishes.
        Gone,
    }
}
choice! {
    /// Row 5: Complete without a PUT.
    CompleteWithoutPut {
        /// InvalidRequestException (400). The default.
        InvalidRequest,
        /// Accepted; the file is `FAILED` afterwards.
        AcceptedThenFailed,
    }
}
choice! {
    /// Rows where the second or the odd call either succeeds or is refused.
    Leniency {
        /// It succeeds.
        Ok,
        /// InvalidRequestException (400).
        InvalidRequest,
    }
}
choice! {
    /// Row 8: an id that BatchGet does not find on that case.
    UnknownIds {
        /// In `Errors`. The default.
        InErrors,
        /// In neither list.
        Absent,
        /// ResourceNotFoundException (404) for the whole call.
        WholeCallNotFound,
    }
}
choice! {
    /// Row 9: a FileName that the case has already.
    DuplicateName {
        /// Allowed. The default.
        Allowed,
        /// ResourceConflictException (409).
        ResourceConflict,
    }
}
choice! {
    /// Row 10: GetAttachedFile on a file that is not approved.
    GetUnapproved {
        /// Metadata without a URL. The default.
        NoUrl,
        /// InvalidRequestException (400).
        InvalidRequest,
    }
}
choice! {
    /// Row 11: Delete of a file that was deleted before.
    DeleteTwice {
        /// ResourceNotFoundException (404). The default.
        NotFound,
        /// Success again.
        Ok,
    }
}
choice! {
    /// Row 15: Start on a case that was deleted or never existed.
    StartOnDeletedCase {
        /// ResourceNotFoundException (404). The default.
        ResourceNotFound,
        /// AccessDeniedException (403).
        AccessDenied,
    }
}

/// One setting of everything undocumented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct Switches {
    /// Row 1. Default [`TokenReplay::SameUrl`].
    pub token_replay: TokenReplay,
    /// Row 2. Default [`TokenMismatch::ResourceConflict`].
    pub token_mismatch: TokenMismatch,
    /// Row 1 after a delete. Default [`TokenOfDeleted::NewFile`].
    pub token_of_deleted: TokenOfDeleted,
    /// Row 3. Default [`StatusAfterStart::Processing`].
    pub status_after_start: StatusAfterStart,
    /// Row 3. Default [`AfterUrlExpiry::Unchanged`].
    pub after_url_expiry: AfterUrlExpiry,
    /// Row 4: whether unfinished, REJECTED and FAILED files count to the quota of files per case. Default `true`.
    pub unfinished_count: bool,
    /// Row 5. Default [`CompleteWithoutPut::InvalidRequest`].
    pub complete_without_put: CompleteWithoutPut,
    /// Row 5: Complete a second time. Default [`Leniency::Ok`].
    pub complete_twice: Leniency,
    /// Row 8. Default [`UnknownIds::InErrors`].
    pub unknown_ids: UnknownIds,
    /// Row 9. Default [`DuplicateName::Allowed`].
    pub duplicate_name: DuplicateName,
    /// Row 10. Default [`GetUnapproved::NoUrl`].
    pub get_unapproved: GetUnapproved,
    /// Row 11: Delete between Complete and the end of the scan. Default [`Leniency::Ok`].
    pub delete_during_scan: Leniency,
    /// Row 11. Default [`DeleteTwice::NotFound`].
    pub delete_twice: DeleteTwice,
    /// Row 15: Start on a closed case. Default [`Leniency::Ok`].
    pub start_on_closed_case: Leniency,
    /// Row 15. Default [`StartOnDeletedCase::ResourceNotFound`].
    pub start_on_deleted_case: StartOnDeletedCase,
    /// Row 16: Start and Complete draw on one throttle bucket. Default `false`.
    pub start_and_complete_share_bucket: bool,
    /// Row 17: how long after Start SearchRelatedItems begins to list the file, in milliseconds. Default 0.
    #[serde(rename = "related_items_delay_ms", with = "millis")]
    pub related_items_delay: Duration,
    /// Row 17: how long after a case was made SearchCases begins to find it, in milliseconds. Default 0.
    #[serde(rename = "search_cases_delay_ms", with = "millis")]
    pub search_cases_delay: Duration,
    /// Whether the domain has the newer field of reference ids (SERVICE.md 7). Default `true`.
    pub reference_id_field: bool,
    /// Whether `equalTo` on reference ids ignores letter case, as their uniqueness does. Default `true`.
    pub search_ignores_case: bool,
}

impl Switches {
    /// Our best reading of the service.
    pub const DEFAULT: Self = Self {
        token_replay: TokenReplay::SameUrl,
        token_mismatch: TokenMismatch::ResourceConflict,
        token_of_deleted: TokenOfDeleted::NewFile,
        status_after_start: StatusAfterStart::Processing,
        after_url_expiry: AfterUrlExpiry::Unchanged,
        unfinished_count: true,
        complete_without_put: CompleteWithoutPut::InvalidRequest,
        complete_twice: Leniency::Ok,
        unknown_ids: UnknownIds::InErrors,
        duplicate_name: DuplicateName::Allowed,
        get_unapproved: GetUnapproved::NoUrl,
        delete_during_scan: Leniency::Ok,
        delete_twice: DeleteTwice::NotFound,
        start_on_closed_case: Leniency::Ok,
        start_on_deleted_case: StartOnDeletedCase::ResourceNotFound,
        start_and_complete_share_bucket: false,
        related_items_delay: Duration::ZERO,
        search_cases_delay: Duration::ZERO,
        reference_id_field: true,
        search_ignores_case: true,
    };

    /// The default and every single deviation from it, each with a name for test output.
    #[rustfmt::skip]
    pub const ALL: [(&'static str, Self); 28] = {
        const D: Switches = Switches::DEFAULT;
        [
            ("default", D),
            ("token-replay=fresh-url", Self { token_replay: TokenReplay::FreshUrl, ..D }),
            ("token-replay=new-file", Self { token_replay: TokenReplay::NewFile, ..D }),
            ("token-replay=dead-url", Self { token_replay: TokenReplay::DeadUrl, ..D }),
            ("token-mismatch=invalid-request", Self { token_mismatch: TokenMismatch::InvalidRequest, ..D }),
            ("token-mismatch=ignored", Self { token_mismatch: TokenMismatch::Ignored, ..D }),
            ("token-of-deleted=dead-file", Self { token_of_deleted: TokenOfDeleted::DeadFile, ..D }),
            ("status-after-start=drafting", Self { status_after_start: StatusAfterStart::Drafting, ..D }),
            ("status-after-start=pending-upload", Self { status_after_start: StatusAfterStart::PendingUpload, ..D }),
            ("after-url-expiry=failed", Self { after_url_expiry: AfterUrlExpiry::Failed, ..D }),
            ("after-url-expiry=upload-expired", Self { after_url_expiry: AfterUrlExpiry::UploadExpired, ..D }),
            ("after-url-expiry=gone", Self { after_url_expiry: AfterUrlExpiry::Gone, ..D }),
            ("unfinished-count=false", Self { unfinished_count: false, ..D }),
            ("complete-without-put=accepted-then-failed", Self { complete_without_put: CompleteWithoutPut::AcceptedThenFailed, ..D }),
            ("complete-twice=invalid-request", Self { complete_twice: Leniency::InvalidRequest, ..D }),
            ("unknown-ids=absent", Self { unknown_ids: UnknownIds::Absent, ..D }),
            ("unknown-ids=whole-call-not-found", Self { unknown_ids: UnknownIds::WholeCallNotFound, ..D }),
            ("duplicate-name=resource-conflict", Self { duplicate_name: DuplicateName::ResourceConflict, ..D }),
            ("get-unapproved=invalid-request", Self { get_unapproved: GetUnapproved::InvalidRequest, ..D }),
            ("delete-during-scan=invalid-request", Self { delete_during_scan: Leniency::InvalidRequest, ..D }),
            ("delete-twice=ok", Self { delete_twice: DeleteTwice::Ok, ..D }),
            ("start-on-closed-case=invalid-request", Self { start_on_closed_case: Leniency::InvalidRequest, ..D }),
            ("start-on-deleted-case=access-denied", Self { start_on_deleted_case: StartOnDeletedCase::AccessDenied, ..D }),
            ("start-and-complete-share-bucket=true", Self { start_and_complete_share_bucket: true, ..D }),
            ("related-items-delay=2s", Self { related_items_delay: Duration::from_secs(2), ..D }),
            ("search-cases-delay=2s", Self { search_cases_delay: Duration::from_secs(2), ..D }),
            ("reference-id-field=false", Self { reference_id_field: false, ..D }),
            ("search-ignores-case=false", Self { search_ignores_case: false, ..D }),
        ]
    };
}

impl Default for Switches {
    fn default() -> Self {
        Self::DEFAULT
    }
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_differs_from_every_other() {
        for (at, (name, one)) in Switches::ALL.iter().enumerate() {
            for (other_name, other) in Switches::ALL.iter().skip(at + 1) {
                assert_ne!(name, other_name);
                assert_ne!(one, other, "{name} and {other_name}");
            }
        }
    }

    #[test]
    fn names_parse_as_the_setting_they_name() {
        for (name, wanted) in &Switches::ALL {
            let Some((key, value)) = name.split_once('=') else {
                continue;
            };
            let text = match value {
                "2s" => format!("{}_ms = 2000", key.replace('-', "_")),
                "true" | "false" => format!("{} = {value}", key.replace('-', "_")),
                _ => format!("{} = \"{value}\"", key.replace('-', "_")),
            };
            let parsed: Switches = toml::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(parsed, *wanted, "{name}");
        }
    }
}
