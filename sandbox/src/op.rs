//! The operations of the wire, under their AWS names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One operation the sandbox answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Op {
    /// `PUT /attached-files/{InstanceId}`
    StartAttachedFileUpload,
    /// `POST /attached-files/{InstanceId}/{FileId}`
    CompleteAttachedFileUpload,
    /// `POST /attached-files/{InstanceId}`
    BatchGetAttachedFileMetadata,
    /// `GET /attached-files/{InstanceId}/{FileId}`
    GetAttachedFile,
    /// `DELETE /attached-files/{InstanceId}/{FileId}`
    DeleteAttachedFile,
    /// `GET /attached-files-configurations/{InstanceId}/{AttachmentScope}`
    DescribeAttachedFilesConfiguration,
    /// `POST /domains/{domainId}/cases/{caseId}/related-items-search`
    SearchRelatedItems,
    /// `POST /domains/{domainId}/cases-search`
    SearchCases,
    /// `POST /domains/{domainId}/cases/{caseId}`
    GetCase,
    /// `POST /domains-list`
    ListDomains,
    /// `POST /domains/{domainId}/fields-list`
    ListFields,
    /// The presigned PUT of the bytes.
    #[serde(alias = "PUT", alias = "Put")]
    PutObject,
    /// The presigned GET of the bytes.
    #[serde(alias = "GET", alias = "Get")]
    GetObject,
    /// Anything else that arrived.
    Unknown,
}

impl Op {
    /// Every operation with a name, in the order of a file's life.
    pub const ALL: [Self; 13] = [
        Self::StartAttachedFileUpload,
        Self::PutObject,
        Self::CompleteAttachedFileUpload,
        Self::BatchGetAttachedFileMetadata,
        Self::GetAttachedFile,
        Self::GetObject,
        Self::DeleteAttachedFile,
        Self::DescribeAttachedFilesConfiguration,
        Self::SearchRelatedItems,
        Self::SearchCases,
        Self::GetCase,
        Self::ListDomains,
        Self::ListFields,
    ];

    /// Which of the three services answers.
    pub(crate) fn service(self) -> Service {
        match self {
            Self::StartAttachedFileUpload
            | Self::CompleteAttachedFileUpload
            | Self::BatchGetAttachedFileMetadata
            | Self::GetAttachedFile
            | Self::DeleteAttachedFile
            | Self::DescribeAttachedFilesConfiguration
            | Self::Unknown => Service::Connect,
            Self::SearchRelatedItems | Self::SearchCases | Self::GetCase | Self::ListDomains | Self::ListFields => {
                Service::Cases
            }
            Self::PutObject | Self::GetObject => Service::S3,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The service behind an operation: it fixes the signing name and the form of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Connect,
    Cases,
    S3,
}

impl Service {
    /// Name in the credential scope (SERVICE.md 3.2: Cases signs as `cases`, not `connectcases`).
    pub(crate) fn signing_name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Cases => "cases",
            Self::S3 => "s3",
        }
    }
}
