//! The attached-file operations of Connect.
//!
//! Member names, paths and limits: the service model `connect` 2017-08-08 (SERVICE.md 1 and 2).

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::clock::Millis;
use crate::ids;
use crate::model::NewFile;
use crate::record::{FileRecord, FileStatus};
use crate::reply::{ApiError, Reply};
use crate::server::Call;
use crate::sigv4;
use crate::state::Shared;
use crate::switches::GetUnapproved;
use crate::uri;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StartBody {
    client_token: Option<String>,
    file_name: Option<String>,
    file_size_in_bytes: Option<i64>,
    url_expiry_in_seconds: Option<i64>,
    file_use_case_type: Option<String>,
    created_by: Option<CreatedBy>,
    tags: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
struct CreatedBy {
    #[serde(rename = "ConnectUserArn")]
    connect_user: Option<String>,
    #[serde(rename = "AWSIdentityArn")]
    aws_identity: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchBody {
    file_ids: Option<Vec<String>>,
}

/// A JSON body as a type; an absent body is an empty object.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ApiError::serialization(format!("The body cannot be read: {error}.")))
}

fn check_instance(instance_id: &str) -> Result<(), ApiError> {
    if instance_id == ids::INSTANCE_ID {
        Ok(())
    } else {
        Err(ApiError::not_found(format!("Instance {instance_id} was not found.")))
    }
}

/// The case id in `associatedResourceArn`.
fn case_id(call: &Call) -> Result<String, ApiError> {
    let arn = uri::query_value(&call.query, "associatedResourceArn")
        .ok_or_else(|| ApiError::invalid_request("associatedResourceArn is required."))?;
    if !arn.starts_with("arn:") || arn.split(':').count() < 6 {
        return Err(ApiError::invalid_request("associatedResourceArn is not an ARN."));
    }
    let id = arn
        .strip_prefix(&ids::domain_arn())
        .and_then(|rest| rest.strip_prefix("/case/"))
        .ok_or_else(|| ApiError::denied("User is not authorized to access the associated resource."))?;
    if id.is_empty() || id.contains('/') {
        return Err(ApiError::invalid_request("associatedResourceArn is not the ARN of a case."));
    }
    Ok(id.to_owned())
}

/// The case, which must exist for every operation but Start.
fn known_case(shared: &Shared, call: &mut Call) -> Result<String, ApiError> {
    let id = case_id(call)?;
    call.case_id = Some(id.clone());
    if shared.case(&id).is_none() {
        return Err(ApiError::not_found(format!("Case {id} was not found.")));
    }
    Ok(id)
}

pub(crate) fn start(shared: &Shared, call: &mut Call, instance_id: &str) -> Result<Reply, ApiError> {
    check_instance(instance_id)?;
    let body: StartBody = parse(&call.body)?;
    let case_id = case_id(call)?;
    call.case_id = Some(case_id.clone());
    call.client_token.clone_from(&body.client_token);
    let new = check_start(shared, body, case_id)?;
    // Makes the case where any is accepted; that it may be absent is for the model to judge.
    shared.case(&new.case_id);
    let now = shared.clock.now();
    let record = shared.model().start(new, now)?;
    call.file_id = Some(record.file.file_id.clone());
    shared.persist(&record)?;

    let headers = signed_headers(&record);
    let mut to_sign = header_map(&headers)?;
    to_sign.insert("host", header_value(&shared.host)?);
    let path = format!("/{}/staging/{}", ids::BUCKET, record.file.file_id);
    let url = sigv4::presign(
        &shared.keys,
        "PUT",
        &shared.endpoint,
        &path,
        &[],
        &to_sign,
        record.url_signed_at,
        record.url_seconds,
    );
    let mut answer = metadata(&record, call.unknown_status);
    if let Some(object) = answer.as_object_mut() {
        for not_in_start in ["FileName", "FileSizeInBytes", "FileUseCaseType", "AssociatedResourceArn", "Tags"] {
            object.remove(not_in_start);
        }
        object.insert(
            "UploadUrlMetadata".to_owned(),
            json!({
                "Url": url,
                "UrlExpiry": record.url_expires(),
                "HeadersToInclude": headers.into_iter().collect::<BTreeMap<_, _>>(),
            }),
        );
    }
    Ok(Reply::json(&answer))
}

fn check_start(shared: &Shared, body: StartBody, case_id: String) -> Result<NewFile, ApiError> {
    let invalid = ApiError::invalid_request;
    let name = body.file_name.ok_or_else(|| invalid("FileName is required."))?;
    let size = body.file_size_in_bytes.ok_or_else(|| invalid("FileSizeInBytes is required."))?;
    match body.file_use_case_type.as_deref() {
        Some("ATTACHMENT") => {}
        Some(_) => return Err(invalid("FileUseCaseType must be ATTACHMENT for a case.")),
        None => return Err(invalid("FileUseCaseType is required.")),
    }
    let token = body.client_token.unwrap_or_default();
    if token.chars().count() > 500 {
        return Err(invalid("ClientToken is longer than 500 characters."));
    }
    let seconds = body.url_expiry_in_seconds.unwrap_or(300);
    if !(5..=300).contains(&seconds) {
        return Err(invalid("UrlExpiryInSeconds must be from 5 to 300."));
    }
    let tags = body.tags.unwrap_or_default();
    check_tags(shared, &tags)?;
    let created_by = match body.created_by {
        None => None,
        Some(CreatedBy { connect_user: Some(arn), aws_identity: None }) if arn.starts_with(&ids::instance_arn()) => {
            Some(arn)
        }
        Some(_) => {
            return Err(invalid("CreatedBy must be the ARN of a user of the instance."));
        }
    };

    if !(1..=256).contains(&name.chars().count()) || shared.class_c.is_match(&name) {
        return Err(ApiError::invalid_file(
            "INVALID_FILE_NAME",
            "FileName must have 1 to 256 characters, none of them of Unicode class C.",
        ));
    }
    let model = shared.model();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let allowed = extension.is_some_and(|extension| {
        let matches = |one: &String| one.eq_ignore_ascii_case(extension);
        model.limits.extensions.iter().any(matches)
    });
    if !allowed {
        return Err(ApiError::invalid_file("INVALID_FILE_TYPE", "The extension is not allowed for case attachments."));
    }
    let size = u64::try_from(size).unwrap_or(0);
    if !(1..=model.limits.max_file_bytes).contains(&size) {
        return Err(ApiError::invalid_file(
            "INVALID_FILE_SIZE",
            format!("FileSizeInBytes must be from 1 to {}.", model.limits.max_file_bytes),
        ));
    }
    drop(model);
    Ok(NewFile {
        case_id,
        name,
        size,
        // Without a token every call stands for itself, as with the random one an SDK fills in.
        token: if token.is_empty() { shared.ids.uuid() } else { token },
        tags,
        created_by,
        url_seconds: u64::try_from(seconds).unwrap_or(300),
    })
}

fn check_tags(shared: &Shared, tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > 50 {
        return Err(ApiError::invalid_request("There are more than 50 tags."));
    }
    for (key, value) in tags {
        let good_key =
            (1..=128).contains(&key.chars().count()) && !key.starts_with("aws:") && shared.tag_key.is_match(key);
        if !good_key || value.chars().count() > 256 {
            return Err(ApiError::invalid_request(format!(
                "Tag {key:?} is not allowed: a key has 1 to 128 letters, digits, spaces or _.:/=+-@ and does not \
                 begin with aws:, a value has at most 256 characters."
            )));
        }
    }
    Ok(())
}

/// The headers that the PUT must carry (SERVICE.md 2.3).
fn signed_headers(record: &FileRecord) -> Vec<(String, String)> {
    let name = &record.file.file_name;
    let pair = |key: &str, value: String| (key.to_owned(), value);
    vec![
        pair("Content-Length", record.file.size.to_string()),
        pair("Content-Type", content_type(name).to_owned()),
        pair("Content-Disposition", disposition("attachment", name)),
        pair("x-amz-acl", "bucket-owner-full-control".to_owned()),
        pair("x-amz-meta-account_id", ids::ACCOUNT.to_owned()),
        pair("x-amz-meta-organization_id", ids::INSTANCE_ID.to_owned()),
    ]
}

fn header_value(text: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(text).map_err(|_| ApiError::internal(crate::op::Service::Connect))
}

fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, ApiError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes())
            .map_err(|_| ApiError::internal(crate::op::Service::Connect))?;
        map.insert(name, header_value(value)?);
    }
    Ok(map)
}

/// `Content-Disposition`: quoted where that is plain, percent-encoded by RFC 5987 where it is not.
fn disposition(kind: &str, name: &str) -> String {
    let plain = name.chars().all(|c| (c.is_ascii_graphic() || c == ' ') && c != '"' && c != '\\');
    if plain {
        format!("{kind}; filename=\"{name}\"")
    } else {
        format!("{kind}; filename*=UTF-8''{}", uri::encode(name))
    }
}

/// Media type by extension.
fn content_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "csv" => "text/csv",
        "doc" => "application/msword",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "heic" => "image/heic",
        "jfif" | "jpeg" | "jpg" => "image/jpeg",
        "mov" => "video/quicktime",
        "mp4" => "video/mp4",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "ppt" => "application/vnd.ms-powerpoint",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "rtf" => "application/rtf",
        "txt" => "text/plain",
        "wav" => "audio/wav",
        "xls" => "application/vnd.ms-excel",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        _ => "application/octet-stream",
    }
}

fn status_word(status: FileStatus, unknown: bool) -> &'static str {
    if unknown { "CASEDROP_SANDBOX_UNKNOWN" } else { status.as_str() }
}

/// A file as BatchGet and Get show it.
fn metadata(record: &FileRecord, unknown_status: bool) -> Value {
    let file = &record.file;
    let creator = if record.created_by_user { "ConnectUserArn" } else { "AWSIdentityArn" };
    let mut value = json!({
        "FileId": file.file_id,
        "FileArn": ids::file_arn(&file.file_id),
        "FileName": file.file_name,
        "FileSizeInBytes": file.size,
        "FileStatus": status_word(file.status, unknown_status),
        "FileUseCaseType": "ATTACHMENT",
        "CreationTime": file.created_at,
        "AssociatedResourceArn": ids::case_arn(&file.case_id),
        "CreatedBy": { creator: file.created_by },
    });
    if !file.tags.is_empty()
        && let Some(object) = value.as_object_mut()
    {
        object.insert("Tags".to_owned(), json!(file.tags));
    }
    value
}

pub(crate) fn complete(shared: &Shared, call: &mut Call, instance_id: &str, file_id: &str) -> Result<Reply, ApiError> {
    check_instance(instance_id)?;
    let case_id = known_case(shared, call)?;
    let now = shared.clock.now();
    let record = shared.model().complete(&case_id, file_id, now)?;
    shared.persist(&record)?;
    Ok(Reply::json(&json!({})))
}

pub(crate) fn batch_get(shared: &Shared, call: &mut Call, instance_id: &str) -> Result<Reply, ApiError> {
    check_instance(instance_id)?;
    let body: BatchBody = parse(&call.body)?;
    let file_ids = body.file_ids.ok_or_else(|| ApiError::invalid_request("FileIds is required."))?;
    let good = |id: &String| (1..=256).contains(&id.chars().count());
    if !(1..=100).contains(&file_ids.len()) || !file_ids.iter().all(good) {
        return Err(ApiError::invalid_request("FileIds must hold 1 to 100 ids."));
    }
    let case_id = known_case(shared, call)?;
    let now = shared.clock.now();
    let found = shared.model().batch(&case_id, &file_ids, now)?;
    let unknown_status = call.unknown_status;
    let files: Vec<Value> = found.files.iter().map(|record| metadata(record, unknown_status)).collect();
    let errors: Vec<Value> = found
        .unknown
        .iter()
        .map(|id| {
            json!({
                "FileId": id,
                "ErrorCode": "ResourceNotFoundException",
                "ErrorMessage": "The attached file was not found.",
            })
        })
        .collect();
    Ok(Reply::json(&json!({ "Files": files, "Errors": errors })))
}

pub(crate) fn get(shared: &Shared, call: &mut Call, instance_id: &str, file_id: &str) -> Result<Reply, ApiError> {
    check_instance(instance_id)?;
    let seconds = match uri::query_value(&call.query, "urlExpiryInSeconds") {
        None => 300,
        Some(text) => text
            .parse::<u64>()
            .ok()
            .filter(|seconds| (5..=300).contains(seconds))
            .ok_or_else(|| ApiError::invalid_request("urlExpiryInSeconds must be from 5 to 300."))?,
    };
    let kind = match uri::query_value(&call.query, "urlContentDisposition") {
        None | Some("ATTACHMENT") => "attachment",
        Some("INLINE") => "inline",
        Some(_) => {
            return Err(ApiError::invalid_request("urlContentDisposition must be INLINE or ATTACHMENT."));
        }
    };
    let case_id = known_case(shared, call)?;
    let now = shared.clock.now();
    let record = shared.model().file_on(&case_id, file_id, now)?;
    let mut answer = metadata(&record, call.unknown_status);
    if record.file.status == FileStatus::Approved {
        let mut headers = HeaderMap::new();
        headers.insert("host", header_value(&shared.host)?);
        let extra = [
            ("response-content-disposition".to_owned(), disposition(kind, &record.file.file_name)),
            ("response-content-type".to_owned(), content_type(&record.file.file_name).to_owned()),
        ];
        let signed_at = now.whole_second();
        let url = sigv4::presign(
            &shared.keys,
            "GET",
            &shared.endpoint,
            &format!("/{}/attachments/{file_id}", ids::BUCKET),
            &extra,
            &headers,
            signed_at,
            seconds,
        );
        let expiry: Millis = signed_at.plus(std::time::Duration::from_secs(seconds));
        if let Some(object) = answer.as_object_mut() {
            object.insert("DownloadUrlMetadata".to_owned(), json!({ "Url": url, "UrlExpiry": expiry }));
        }
    } else if shared.model().switches.get_unapproved == GetUnapproved::InvalidRequest {
        return Err(ApiError::invalid_request("The file is not approved."));
    }
    Ok(Reply::json(&answer))
}

pub(crate) fn delete(shared: &Shared, call: &mut Call, instance_id: &str, file_id: &str) -> Result<Reply, ApiError> {
    check_instance(instance_id)?;
    let case_id = known_case(shared, call)?;
    let now = shared.clock.now();
    let gone = shared.model().delete(&case_id, file_id, now)?;
    if let Some(record) = gone {
        shared.persist(&record)?;
    }
    Ok(Reply::json(&json!({})))
}

pub(crate) fn describe(shared: &Shared, instance_id: &str, scope: &str) -> Result<Reply, ApiError> {
    check_instance(instance_id)?;
    if !matches!(scope, "CASE" | "CHAT" | "TASK" | "EMAIL") {
        return Err(ApiError::new(
            400,
            "InvalidParameterException",
            "AttachmentScope must be EMAIL, CHAT, CASE or TASK.",
        ));
    }
    let model = shared.model();
    let extensions: Vec<Value> =
        model.limits.extensions.iter().map(|extension| json!({ "Extension": extension })).collect();
    Ok(Reply::json(&json!({
        "AttachedFilesConfiguration": {
            "InstanceId": instance_id,
            "AttachmentScope": scope,
            "MaximumSizeLimitInBytes": model.limits.max_file_bytes,
            "ExtensionConfiguration": { "AllowedExtensions": extensions },
        }
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disposition_is_a_header_for_any_name() {
        assert_eq!(disposition("attachment", "a b.pdf"), "attachment; filename=\"a b.pdf\"");
        assert_eq!(disposition("attachment", "ä\".pdf"), "attachment; filename*=UTF-8''%C3%A4%22.pdf");
        let long = disposition("attachment", &"😀".repeat(256));
        assert!(HeaderValue::from_str(&long).is_ok());
    }
}
