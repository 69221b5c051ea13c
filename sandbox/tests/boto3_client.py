"""Drives a running sandbox through boto3, and its presigned URLs through urllib.

Everything it needs comes by environment (see boto3.rs). Prints one JSON object with what it saw; any surprise ends
it with a traceback and a status other than 0.
"""

import hashlib
import json
import os
import urllib.error
import urllib.request

import boto3
import botocore
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["SANDBOX_ENDPOINT"]
INSTANCE = os.environ["SANDBOX_INSTANCE"]
CASE_ID = os.environ["SANDBOX_CASE"]


def client(service, secret=None):
    return boto3.client(
        service,
        endpoint_url=ENDPOINT,
        region_name=os.environ["SANDBOX_REGION"],
        aws_access_key_id=os.environ["SANDBOX_KEY_ID"],
        aws_secret_access_key=secret or os.environ["SANDBOX_SECRET"],
        config=Config(retries={"max_attempts": 1, "mode": "standard"}, parameter_validation=False),
    )


def refused(call, **arguments):
    """Error code, HTTP status and whole answer of a call that must fail."""
    try:
        call(**arguments)
    except ClientError as error:
        answer = error.response
        return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer
    raise AssertionError(f"{call} was not refused")


def send(url, data=None, headers=None, method="GET"):
    request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


connect, cases = client("connect"), client("connectcases")

(domain,) = cases.list_domains()["domains"]
domain_id = domain["domainId"]
case_arn = f"{domain['domainArn']}/case/{CASE_ID}"
on_case = {"InstanceId": INSTANCE, "AssociatedResourceArn": case_arn}

found = cases.search_cases(
    domainId=domain_id,
    filter={"field": {"equalTo": {"id": "reference_number", "value": {"stringValue": os.environ["SANDBOX_REFERENCE"]}}}},
    fields=[{"id": "reference_number"}, {"id": "title"}, {"id": "status"}],
    maxResults=2,
)
assert found["totalCount"] == 1 and found["cases"][0]["caseId"] == CASE_ID, found
read = cases.get_case(domainId=domain_id, caseId=CASE_ID, fields=[{"id": "status"}, {"id": "title"}])
assert read["fields"][0] == {"id": "status", "value": {"stringValue": "open"}}, read
fields = cases.list_fields(domainId=domain_id)["fields"]
assert any(field["fieldId"] == "reference_number" for field in fields)
code, status, _ = refused(cases.get_case, domainId=domain_id, caseId="nope", fields=[{"id": "title"}])
assert (code, status) == ("ResourceNotFoundException", 404)

settings = connect.describe_attached_files_configuration(InstanceId=INSTANCE, AttachmentScope="CASE")
settings = settings["AttachedFilesConfiguration"]
extensions = [one["Extension"] for one in settings["ExtensionConfiguration"]["AllowedExtensions"]]
assert "pdf" in extensions and settings["MaximumSizeLimitInBytes"] == 20 * 1024 * 1024

content = os.urandom(300_000)
name = "Überweisung  \"März\" — 10 €.pdf"
tags = {"casedrop:path": "a/b c.pdf", "casedrop:sha256": hashlib.sha256(content).hexdigest()}
started = connect.start_attached_file_upload(
    **on_case, FileName=name, FileSizeInBytes=len(content), FileUseCaseType="ATTACHMENT", Tags=tags, UrlExpiryInSeconds=60
)
upload, file_id = started["UploadUrlMetadata"], started["FileId"]
assert started["FileStatus"] == "PROCESSING" and "AWSIdentityArn" in started["CreatedBy"], started
names = sorted(name.lower() for name in upload["HeadersToInclude"])
assert names == [
    "content-disposition", "content-length", "content-type",
    "x-amz-acl", "x-amz-meta-account_id", "x-amz-meta-organization_id",
], names

code, status, _ = refused(connect.complete_attached_file_upload, **on_case, FileId=file_id)
assert (code, status) == ("InvalidRequestException", 400)

status, body, _ = send(upload["Url"], content, {**upload["HeadersToInclude"], "x-amz-meta-more": "1"}, "PUT")
assert status == 403 and b"not signed" in body, body
status, body, _ = send(upload["Url"], content, {**upload["HeadersToInclude"], "Content-Type": "text/html"}, "PUT")
assert status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in body, body
status, body, headers = send(upload["Url"], content, upload["HeadersToInclude"], "PUT")
assert status == 200 and body == b"" and "x-amz-request-id" in headers, (status, body)

connect.complete_attached_file_upload(**on_case, FileId=file_id)
batch = connect.batch_get_attached_file_metadata(**on_case, FileIds=[file_id, "5a5d0000-0000-4000-8000-0000000000ff"])
(seen,), (unknown,) = batch["Files"], batch["Errors"]
assert seen["FileStatus"] == "APPROVED" and seen["Tags"] == tags and seen["FileName"] == name, seen
assert unknown["FileId"].endswith("ff") and unknown["ErrorCode"], unknown

# Older releases of boto3 do not know the choice of disposition.
known = connect.meta.service_model.operation_model("GetAttachedFile").input_shape.members
inline = {"UrlContentDisposition": "INLINE"} if "UrlContentDisposition" in known else {}
got = connect.get_attached_file(**on_case, FileId=file_id, UrlExpiryInSeconds=30, **inline)
status, body, headers = send(got["DownloadUrlMetadata"]["Url"])
assert status == 200 and body == content and headers["content-disposition"].startswith("inline" if inline else "attachment"), (status, headers)

items = cases.search_related_items(domainId=domain_id, caseId=CASE_ID, filters=[{"file": {}}])["relatedItems"]
assert [item["content"]["file"]["fileArn"].rpartition("/")[2] for item in items] == [file_id], items

bad = {"FileName": "x.exe", "FileSizeInBytes": 1, "FileUseCaseType": "ATTACHMENT"}
code, status, answer = refused(connect.start_attached_file_upload, **on_case, **bad)
assert (code, status) == ("InvalidRequestException", 400)
assert answer["Reason"] == {"AttachedFileInvalidRequestExceptionReason": "INVALID_FILE_TYPE"}, answer

connect.delete_attached_file(**on_case, FileId=file_id)
code, status, _ = refused(connect.get_attached_file, **on_case, FileId=file_id)
assert (code, status) == ("ResourceNotFoundException", 404)
assert cases.search_related_items(domainId=domain_id, caseId=CASE_ID)["relatedItems"] == []

code, status, _ = refused(client("connectcases", "wrong").list_domains)
assert (code, status) == ("InvalidSignatureException", 403)

print(json.dumps({"boto3": boto3.__version__, "botocore": botocore.__version__, "file_id": file_id}))
