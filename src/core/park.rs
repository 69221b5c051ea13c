//! Why a file waits for a person or a change, and what to do then.

use super::words::words;

words! {
    /// Why a file waits for a person or a change (DESIGN §2, "park"). The texts are stable.
    ParkCode {
        EmptyFile = "empty-file",
        TooLarge = "too-large",
        TypeNotAllowed = "type-not-allowed",
        BadName = "bad-name",
        CaseFull = "case-full",
        CaseSizeFull = "case-size-full",
        CaseNotFound = "case-not-found",
        CaseClosed = "case-closed",
        AccessDenied = "access-denied",
        StorageDenied = "storage-denied",
        Rejected = "rejected",
        Failed = "failed",
        Refused = "refused",
        Conflict = "conflict",
        Vanished = "vanished",
        Unreadable = "unreadable",
        ConvertFailed = "convert-failed",
        MissingRemotely = "missing-remotely",
        AlteredRemotely = "altered-remotely",
        Unseen = "unseen",
    }
}

impl ParkCode {
    /// Whether it says something of the case, not of the file: it does not hold for another case.
    pub fn is_about_the_case(self) -> bool {
        matches!(self, Self::CaseFull | Self::CaseSizeFull | Self::CaseNotFound | Self::CaseClosed)
    }

    /// Whether it may be told before a call, from what is known of instance and case (`core::preflight`): believed until
    /// Connect is asked.
    pub fn is_foreseen(self) -> bool {
        matches!(self, Self::TooLarge | Self::TypeNotAllowed | Self::BadName | Self::CaseFull)
    }

    /// Whether it says something of the attachment's name: it does not hold for another name.
    pub fn is_about_the_name(self) -> bool {
        matches!(self, Self::BadName | Self::TypeNotAllowed)
    }

    /// One sentence on what to do, identical in log, command line and page.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::EmptyFile => "Connect takes no empty file: write content into it, or remove it.",
            Self::TooLarge => {
                "The file is larger than the instance allows: make it smaller, or let an administrator raise the \
                 limit (Data storage, Attachments, on the instance's my.connect.aws site; at most 100 MiB); it then \
                 goes on by itself, or at once with `casedrop retry`."
            }
            Self::TypeNotAllowed => {
                "The instance does not take this file type: convert the file, or let an administrator add the \
                 extension (Data storage, Attachments, on the instance's my.connect.aws site); it then goes on by \
                 itself, or at once with `casedrop retry`."
            }
            Self::BadName => "Connect refused the attachment's name: rename the file.",
            Self::CaseFull => {
                "The case holds as many files as it may (50 by default): remove some there or have the quota \
                 raised; the file then goes on by itself within hours, or at once with `casedrop retry`."
            }
            Self::CaseSizeFull => {
                "The files of the case are as large together as they may be: remove some there, then \
                 `casedrop retry` it."
            }
            Self::CaseNotFound => {
                "Connect knows no such case: correct the folder's name or the mirror's `case`, then \
                 `casedrop retry` it."
            }
            Self::CaseClosed => {
                "The case is closed, and Connect took no file for it: reopen it, or move the file to another case, then \
                 `casedrop retry` it."
            }
            Self::AccessDenied => {
                "The credentials may not do this: compare the role with the policy that `casedrop check` prints, \
                 then `casedrop retry` it."
            }
            Self::StorageDenied => {
                "The bucket refused the upload: look at its policy and KMS key (Data storage, Attachments), then \
                 `casedrop retry` it."
            }
            Self::Rejected => {
                "The instance's scanner rejected the file, or could not be asked: check the file, then \
                 `casedrop retry` it or remove it."
            }
            Self::Failed => {
                "Connect gave up on the file several times: check that its content fits its extension, then \
                 `casedrop retry` it."
            }
            Self::Refused => {
                "Connect refused the request: read the reason in `casedrop why`, then `casedrop retry` it."
            }
            Self::Conflict => {
                "Connect reports a conflict on this case: check whether it is being merged or holds a file of that \
                 name, then `casedrop retry` it."
            }
            Self::Vanished => {
                "The attachment disappeared at Connect before agents could see it: find out who removed it, then \
                 `casedrop retry` it."
            }
            Self::Unreadable => "casedrop may not read the file: give its user the right to read it.",
            Self::ConvertFailed => {
                "The converter could not make the other type of it: read what it said in `casedrop why`, put a good \
                 file in its place or correct the mirror's `convert`, then `casedrop retry` it."
            }
            Self::MissingRemotely => {
                "The attachment is no longer at Connect, and casedrop did not delete it: find out who did; to attach \
                 the file anew, `casedrop retry` it or `casedrop verify --fix missing`, which forgets it where it is \
                 gone here too."
            }
            Self::AlteredRemotely => {
                "What Connect holds is not what casedrop sent: look at it there; to put the file in its place, \
                 `casedrop retry` it or `casedrop verify --fix altered`. If the file is gone here, put it back first, \
                 or delete the attachment there and `casedrop verify --fix missing`."
            }
            Self::Unseen => {
                "The attachment was adopted from Connect, and there is no such file here: put the file back, or let \
                 the attachment be deleted with `casedrop verify --fix unseen`."
            }
        }
    }
}
