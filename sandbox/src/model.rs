//! The service's state and its rules, without I/O: what each operation checks and does.
//!
//! One lock around it is held for the time of a few map operations, never across I/O. Whatever depends on time
//! (end of a scan, expiry of a URL) is worked out when a file is looked at, so no timer has to be exact.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::time::Duration;

use crate::clock::Millis;
use crate::ids::{self, IdSource};
use crate::record::{CaseInfo, CaseStatus, FileRecord, FileStatus, LedgerFile, NewCase, SeededFile};
use crate::reply::ApiError;
use crate::settings::{Limits, Scan, Verdict};
use crate::switches::{
    AfterUrlExpiry, CompleteWithoutPut, DeleteTwice, DuplicateName, Leniency, StartOnDeletedCase, StatusAfterStart,
    Switches, TokenMismatch, TokenOfDeleted, TokenReplay, UnknownIds,
};

/// Something linked to a case.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    File(String),
    Comment { id: String, at: Millis },
}

/// A case with its index of related items, by number.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) info: CaseInfo,
    pub(crate) items: BTreeMap<u64, Item>,
    files: usize,
    names: HashMap<String, usize>,
}

/// A valid request to start an upload.
#[derive(Clone, Debug)]
pub(crate) struct NewFile {
    pub(crate) case_id: String,
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) token: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) created_by: Option<String>,
    pub(crate) url_seconds: u64,
}

/// Answer to a lookup of many ids.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) files: Vec<FileRecord>,
    pub(crate) unknown: Vec<String>,
}

/// A page of related items.
#[derive(Debug, Default)]
pub(crate) struct ItemPage {
    pub(crate) items: Vec<(Item, Option<FileRecord>)>,
    pub(crate) next: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) limits: Limits,
    pub(crate) scan: Scan,
    pub(crate) switches: Switches,
    pub(crate) accept_any_case: bool,
    ids: IdSource,
    cases: HashMap<String, Case>,
    case_order: Vec<String>,
    by_reference: HashMap<String, Vec<String>>,
    removed_cases: HashSet<String>,
    files: HashMap<String, FileRecord>,
    tokens: HashMap<String, String>,
    deleted: HashMap<String, FileRecord>,
    deleted_order: Vec<String>,
    next_number: u64,
    deadlines: BinaryHeap<Reverse<(Millis, String)>>,
}

impl Model {
    pub(crate) fn new(limits: Limits, scan: Scan, switches: Switches, ids: IdSource) -> Self {
        Self {
            limits,
            scan,
            switches,
            accept_any_case: false,
            ids,
            cases: HashMap::new(),
            case_order: Vec::new(),
            by_reference: HashMap::new(),
            removed_cases: HashSet::new(),
            files: HashMap::new(),
            tokens: HashMap::new(),
            deleted: HashMap::new(),
            deleted_order: Vec::new(),
            next_number: 1,
            deadlines: BinaryHeap::new(),
        }
    }

    // ---- cases -------------------------------------------------------------------------------------------

    /// Adds a case; an id that exists is answered unchanged.
    pub(crate) fn add_case(&mut self, case: NewCase, now: Millis) -> CaseInfo {
        let case_id = case.case_id.unwrap_or_else(|| self.ids.uuid());
        if let Some(existing) = self.cases.get(&case_id) {
            return existing.info.clone();
        }
        self.removed_cases.remove(&case_id);
        let reference_number = case.reference_number.unwrap_or_else(|| {
            // 20000001, 20000002, …: apart from the demo case's and unlike a real one only by chance.
            let mut number = 20_000_001 + self.case_order.len();
            while self.by_reference.contains_key(&number.to_string()) {
                number += 1;
            }
            number.to_string()
        });
        let info = CaseInfo {
            arn: ids::case_arn(&case_id),
            case_id,
            reference_number,
            reference_id: None,
            title: case.title,
            status: case.status,
            created_at: now,
        };
        self.insert_case(info.clone());
        info
    }

    /// Puts a case in place as it is (also on reload).
    pub(crate) fn insert_case(&mut self, info: CaseInfo) {
        let id = info.case_id.clone();
        self.by_reference.entry(info.reference_number.clone()).or_default().push(id.clone());
        self.case_order.push(id.clone());
        self.cases.insert(id, Case { info, items: BTreeMap::new(), files: 0, names: HashMap::new() });
    }

    /// The case, made on the spot where any valid id is accepted. The flag says whether it was made.
    pub(crate) fn case(&mut self, case_id: &str, now: Millis) -> Option<(CaseInfo, bool)> {
        if let Some(case) = self.cases.get(case_id) {
            return Some((case.info.clone(), false));
        }
        if !self.accept_any_case || !ids::is_uuid(case_id) || self.removed_cases.contains(case_id) {
            return None;
        }
        let new =
            NewCase { case_id: Some(case_id.to_owned()), title: "Made on first use".to_owned(), ..NewCase::default() };
        Some((self.add_case(new, now), true))
    }

    /// Gives a case a reference id, or takes it away. `None` if there is no such case or another one has that id.
    pub(crate) fn set_reference_id(&mut self, case_id: &str, id: Option<&str>) -> Option<CaseInfo> {
        let same =
            |case: &CaseInfo| case.reference_id.as_deref().zip(id).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
        if self.cases().any(|case| case.case_id != case_id && same(case)) {
            return None;
        }
        let case = self.cases.get_mut(case_id)?;
        case.info.reference_id = id.map(str::to_owned);
        Some(case.info.clone())
    }

    pub(crate) fn set_case_status(&mut self, case_id: &str, status: CaseStatus) -> Option<CaseInfo> {
        let case = self.cases.get_mut(case_id)?;
        case.info.status = status;
        Some(case.info.clone())
    }

    /// Removes a case with its files, as DeleteCase would; answers what was removed.
    pub(crate) fn remove_case(&mut self, case_id: &str) -> Option<(CaseInfo, Vec<FileRecord>)> {
        let ids: Vec<String> = self
            .cases
            .get(case_id)?
            .items
            .values()
            .filter_map(|item| match item {
                Item::File(id) => Some(id.clone()),
                Item::Comment { .. } => None,
            })
            .collect();
        let files = ids.iter().filter_map(|id| self.forget(id)).collect();
        let case = self.cases.remove(case_id)?;
        self.case_order.retain(|id| id != case_id);
        if let Some(same) = self.by_reference.get_mut(&case.info.reference_number) {
            same.retain(|id| id != case_id);
        }
        self.removed_cases.insert(case_id.to_owned());
        Some((case.info, files))
    }

    /// Links comments to a case: related items that are no files but count to the quota.
    pub(crate) fn add_comments(&mut self, case_id: &str, count: usize, now: Millis) -> bool {
        for _ in 0..count {
            let number = self.number();
            let id = self.ids.uuid();
            let Some(case) = self.cases.get_mut(case_id) else {
                return false;
            };
            case.items.insert(number, Item::Comment { id, at: now });
        }
        self.cases.contains_key(case_id)
    }

    /// Every case, oldest first.
    pub(crate) fn cases(&self) -> impl Iterator<Item = &CaseInfo> {
        self.case_order.iter().filter_map(|id| self.cases.get(id)).map(|case| &case.info)
    }

    pub(crate) fn case_info(&self, case_id: &str) -> Option<&CaseInfo> {
        self.cases.get(case_id).map(|case| &case.info)
    }

    /// The cases with this reference number.
    pub(crate) fn cases_by_reference(&self, reference: &str) -> &[String] {
        self.by_reference.get(reference).map_or(&[], Vec::as_slice)
    }

    // ---- files -------------------------------------------------------------------------------------------

    fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// Puts a file in place as it is: after Start, seeded, or on reload.
    pub(crate) fn insert_file(&mut self, record: FileRecord) -> bool {
        let Some(case) = self.cases.get_mut(&record.file.case_id) else {
            return false;
        };
        self.next_number = self.next_number.max(record.number + 1);
        let id = record.file.file_id.clone();
        case.items.insert(record.number, Item::File(id.clone()));
        case.files += 1;
        *case.names.entry(record.file.file_name.clone()).or_default() += 1;
        if !record.file.foreign {
            self.tokens.insert(record.file.client_token.clone(), id.clone());
        }
        if let Some((at, _)) = record.scan_ends {
            self.deadlines.push(Reverse((at, id.clone())));
        } else if !record.file.put_done && self.switches.after_url_expiry != AfterUrlExpiry::Unchanged {
            self.deadlines.push(Reverse((record.url_expires(), id.clone())));
        }
        self.files.insert(id, record);
        true
    }

    /// A finished file that somebody else uploaded.
    pub(crate) fn foreign_file(
        &mut self,
        case_id: &str,
        name: &str,
        content: (u64, String),
        now: Millis,
    ) -> Option<FileRecord> {
        let status = FileStatus::Approved;
        self.seed(case_id, name, BTreeMap::new(), status, (true, ids::agent_arn()), content, now)
    }

    /// A file of the caller's own, in any state.
    pub(crate) fn seeded_file(&mut self, seed: &SeededFile, content: (u64, String), now: Millis) -> Option<FileRecord> {
        let by = (false, ids::caller_arn());
        self.seed(&seed.case_id, &seed.file_name, seed.tags.clone(), seed.status, by, content, now)
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of the record")]
    fn seed(
        &mut self,
        case_id: &str,
        name: &str,
        tags: BTreeMap<String, String>,
        status: FileStatus,
        (foreign, created_by): (bool, String),
        (size, sha256): (u64, String),
        now: Millis,
    ) -> Option<FileRecord> {
        self.cases.get(case_id)?;
        let finished = matches!(status, FileStatus::Approved | FileStatus::Rejected | FileStatus::Failed);
        let record = FileRecord {
            number: self.number(),
            related_item_id: self.ids.uuid(),
            created_by_user: foreign,
            url_signed_at: now.whole_second(),
            url_seconds: 300,
            stored_at: finished.then_some(now),
            completed_at: finished.then_some(now),
            scan_ends: None,
            file: LedgerFile {
                file_id: self.ids.uuid(),
                case_id: case_id.to_owned(),
                file_name: name.to_owned(),
                status,
                size,
                sha256: finished.then_some(sha256),
                tags,
                client_token: if foreign { String::new() } else { self.ids.uuid() },
                put_done: finished,
                completed: finished,
                created_by,
                foreign,
                created_at: now,
            },
        };
        self.insert_file(record.clone());
        Some(record)
    }

    /// Removes a file behind everybody's back.
    pub(crate) fn lose(&mut self, file_id: &str) -> Option<FileRecord> {
        self.forget(file_id)
    }

    /// Changes a file behind everybody's back.
    pub(crate) fn change(&mut self, file_id: &str, change: impl FnOnce(&mut LedgerFile)) -> Option<FileRecord> {
        let record = self.files.get_mut(file_id)?;
        record.scan_ends = None;
        change(&mut record.file);
        Some(record.clone())
    }

    /// Takes a file out of every index but the ledger of the deleted.
    fn forget(&mut self, file_id: &str) -> Option<FileRecord> {
        let record = self.files.remove(file_id)?;
        if let Some(case) = self.cases.get_mut(&record.file.case_id) {
            case.items.remove(&record.number);
            case.files = case.files.saturating_sub(1);
            if let Some(count) = case.names.get_mut(&record.file.file_name) {
                *count -= 1;
                if *count == 0 {
                    case.names.remove(&record.file.file_name);
                }
            }
        }
        let token = &record.file.client_token;
        if self.switches.token_of_deleted == TokenOfDeleted::NewFile
            && self.tokens.get(token).is_some_and(|id| id == file_id)
        {
            self.tokens.remove(token);
        }
        self.deleted_order.push(file_id.to_owned());
        self.deleted.insert(file_id.to_owned(), record.clone());
        Some(record)
    }

    /// Brings a file up to `now`. `true` if that changed it (it may be gone afterwards).
    fn advance(&mut self, file_id: &str, now: Millis) -> bool {
        let after = self.switches.after_url_expiry;
        let Some(record) = self.files.get_mut(file_id) else {
            return false;
        };
        if let Some((at, status)) = record.scan_ends {
            if now < at {
                return false;
            }
            record.file.status = status;
            record.scan_ends = None;
            return true;
        }
        let waiting =
            matches!(record.file.status, FileStatus::Drafting | FileStatus::Processing | FileStatus::PendingUpload);
        if !waiting || record.file.put_done || record.file.completed || now <= record.url_expires() {
            return false;
        }
        match after {
            AfterUrlExpiry::Unchanged => return false,
            AfterUrlExpiry::Failed => record.file.status = FileStatus::Failed,
            AfterUrlExpiry::UploadExpired => record.file.status = FileStatus::UploadExpired,
            AfterUrlExpiry::Gone => {
                self.forget(file_id);
            }
        }
        true
    }

    /// The files whose time has come, brought up to `now`: each as it was before (for its place on disk).
    pub(crate) fn settle_due(&mut self, now: Millis) -> Vec<FileRecord> {
        let mut changed = Vec::new();
        while self.deadlines.peek().is_some_and(|Reverse((at, _))| *at < now) {
            let Some(Reverse((_, id))) = self.deadlines.pop() else {
                break;
            };
            if let Some(before) = self.files.get(&id).cloned().or_else(|| {
                // Looked at, and so removed, before the timer came round: the disk has not heard of it yet.
                self.deleted.get(&id).cloned()
            }) {
                self.advance(&id, now);
                changed.push(before);
            }
        }
        changed
    }

    /// The file as it is at `now`, whatever its case.
    pub(crate) fn file(&mut self, file_id: &str, now: Millis) -> Option<FileRecord> {
        self.advance(file_id, now);
        self.files.get(file_id).cloned()
    }

    /// The file as it is stored, without a look at the clock.
    pub(crate) fn stored(&self, file_id: &str) -> Option<&FileRecord> {
        self.files.get(file_id)
    }

    /// The file, if it is on that case.
    pub(crate) fn file_on(&mut self, case_id: &str, file_id: &str, now: Millis) -> Result<FileRecord, ApiError> {
        self.file(file_id, now)
            .filter(|record| record.file.case_id == case_id)
            .ok_or_else(|| ApiError::not_found(format!("Attached file {file_id} was not found.")))
    }

    /// Starts an upload, or answers the one its token stands for.
    pub(crate) fn start(&mut self, new: NewFile, now: Millis) -> Result<FileRecord, ApiError> {
        let Some(case) = self.cases.get(&new.case_id) else {
            return Err(match self.switches.start_on_deleted_case {
                StartOnDeletedCase::ResourceNotFound => {
                    ApiError::not_found(format!("Case {} was not found.", new.case_id))
                }
                StartOnDeletedCase::AccessDenied => {
                    ApiError::denied("User is not authorized to perform: cases:CreateRelatedItem on the case.")
                }
            });
        };
        if case.info.status == CaseStatus::Closed && self.switches.start_on_closed_case == Leniency::InvalidRequest {
            return Err(ApiError::invalid_request("The case is closed."));
        }
        if self.switches.token_replay != TokenReplay::NewFile
            && let Some(id) = self.tokens.get(&new.token).cloned()
            && let Some(answer) = self.replay(&id, &new, now)
        {
            return answer;
        }
        self.check_quotas(&new, now)?;
        let record = FileRecord {
            number: self.number(),
            related_item_id: self.ids.uuid(),
            created_by_user: new.created_by.is_some(),
            url_signed_at: now.whole_second(),
            url_seconds: new.url_seconds,
            stored_at: None,
            completed_at: None,
            scan_ends: None,
            file: LedgerFile {
                file_id: self.ids.uuid(),
                case_id: new.case_id,
                file_name: new.name,
                status: self.first_status(),
                size: new.size,
                sha256: None,
                tags: new.tags,
                client_token: new.token,
                put_done: false,
                completed: false,
                created_by: new.created_by.unwrap_or_else(ids::caller_arn),
                foreign: false,
                created_at: now,
            },
        };
        self.insert_file(record.clone());
        Ok(record)
    }

    fn first_status(&self) -> FileStatus {
        match self.switches.status_after_start {
            StatusAfterStart::Processing => FileStatus::Processing,
            StatusAfterStart::Drafting => FileStatus::Drafting,
            StatusAfterStart::PendingUpload => FileStatus::PendingUpload,
        }
    }

    /// The answer to a token that was seen before; `None` when the file it stood for has vanished by itself.
    fn replay(&mut self, file_id: &str, new: &NewFile, now: Millis) -> Option<Result<FileRecord, ApiError>> {
        self.advance(file_id, now);
        let first_status = self.first_status();
        let Some(record) = self.files.get_mut(file_id) else {
            return self
                .deleted
                .get(file_id)
                .filter(|_| self.switches.token_of_deleted == TokenOfDeleted::DeadFile)
                .map(|dead| Ok(dead.clone()));
        };
        let same = record.file.case_id == new.case_id
            && record.file.file_name == new.name
            && record.file.size == new.size
            && record.file.tags == new.tags;
        if !same {
            match self.switches.token_mismatch {
                TokenMismatch::ResourceConflict => {
                    return Some(Err(ApiError::conflict(
                        "A resource with that client token and other parameters exists.",
                    )));
                }
                TokenMismatch::InvalidRequest => {
                    return Some(Err(ApiError::invalid_request("ClientToken was used with other parameters.")));
                }
                TokenMismatch::Ignored => {}
            }
        }
        let fresh = match self.switches.token_replay {
            TokenReplay::FreshUrl => true,
            TokenReplay::SameUrl => now > record.url_expires(),
            TokenReplay::DeadUrl | TokenReplay::NewFile => false,
        };
        if fresh {
            record.url_signed_at = now.whole_second();
            record.url_seconds = new.url_seconds;
            if !record.file.put_done && !record.file.completed {
                record.file.status = first_status;
                let deadline = (record.url_expires(), file_id.to_owned());
                self.deadlines.push(Reverse(deadline));
            }
        }
        Some(Ok(record.clone()))
    }

    fn check_quotas(&mut self, new: &NewFile, now: Millis) -> Result<(), ApiError> {
        let Some(case) = self.cases.get(&new.case_id) else {
            return Ok(());
        };
        if self.switches.duplicate_name == DuplicateName::ResourceConflict && case.names.contains_key(&new.name) {
            return Err(ApiError::conflict("A resource already has that name."));
        }
        if case.items.len() >= self.limits.related_items_per_case {
            return Err(ApiError::quota(None, "The case has the greatest number of related items."));
        }
        // The exact count needs a look at every file of the case, so it is made only when it can matter.
        let full = case.files >= self.limits.files_per_case;
        if !full && self.limits.bytes_per_case.is_none() {
            return Ok(());
        }
        let ids: Vec<String> = case
            .items
            .values()
            .filter_map(|item| match item {
                Item::File(id) => Some(id.clone()),
                Item::Comment { .. } => None,
            })
            .collect();
        let (mut count, mut bytes) = (0_usize, 0_u64);
        for id in ids {
            self.advance(&id, now);
            let Some(record) = self.files.get(&id) else {
                continue;
            };
            if self.switches.unfinished_count || record.file.status == FileStatus::Approved {
                count += 1;
                bytes = bytes.saturating_add(record.file.size);
            }
        }
        if count >= self.limits.files_per_case {
            return Err(ApiError::quota(
                Some("TOTAL_FILE_COUNT_EXCEEDED"),
                "The case has the greatest number of attached files.",
            ));
        }
        if self.limits.bytes_per_case.is_some_and(|most| bytes.saturating_add(new.size) > most) {
            return Err(ApiError::quota(
                Some("TOTAL_FILE_SIZE_EXCEEDED"),
                "The attached files of the case would be larger than allowed.",
            ));
        }
        Ok(())
    }

    /// Whether bytes that arrive now have a file to go to. They have none after Complete (the object was moved
    /// out of staging) or Delete; S3 knows neither and takes them all the same.
    pub(crate) fn wants_bytes(&self, file_id: &str) -> bool {
        self.files.get(file_id).is_some_and(|record| !record.file.completed)
    }

    /// Notes that a PUT ended well.
    pub(crate) fn put_done(&mut self, file_id: &str, sha256: String, now: Millis) -> bool {
        match self.files.get_mut(file_id) {
            Some(record) if !record.file.completed => {
                record.file.put_done = true;
                record.file.sha256 = Some(sha256);
                record.stored_at = Some(now);
                true
            }
            _ => false,
        }
    }

    /// Ends an upload and begins the scan.
    pub(crate) fn complete(&mut self, case_id: &str, file_id: &str, now: Millis) -> Result<FileRecord, ApiError> {
        let record = self.file_on(case_id, file_id, now)?;
        if record.file.completed {
            return match self.switches.complete_twice {
                Leniency::Ok => Ok(record),
                Leniency::InvalidRequest => {
                    Err(ApiError::invalid_request("The upload of the file was completed before."))
                }
            };
        }
        let delay = self.scan.delay;
        let verdict = self.scan.verdict(&record.file.file_name);
        let lenient = self.switches.complete_without_put == CompleteWithoutPut::AcceptedThenFailed;
        let Some(stored) = self.files.get_mut(file_id) else {
            return Ok(record);
        };
        if !stored.file.put_done {
            if !lenient {
                return Err(ApiError::invalid_request("The file has not been uploaded to the pre-signed URL."));
            }
            stored.file.status = FileStatus::Failed;
            stored.file.completed = true;
            stored.completed_at = Some(now);
            return Ok(stored.clone());
        }
        stored.file.completed = true;
        stored.completed_at = Some(now);
        stored.file.status = FileStatus::Processing;
        let end = match verdict {
            Verdict::Approved => Some(FileStatus::Approved),
            Verdict::Rejected => Some(FileStatus::Rejected),
            Verdict::Failed => Some(FileStatus::Failed),
            Verdict::Never => None,
        };
        match end {
            Some(status) if delay == Duration::ZERO => stored.file.status = status,
            Some(status) => {
                let at = now.plus(delay);
                stored.scan_ends = Some((at, status));
                self.deadlines.push(Reverse((at, file_id.to_owned())));
            }
            None => {}
        }
        Ok(stored.clone())
    }

    /// Deletes a file; `None` when it was deleted before and that is no error.
    pub(crate) fn delete(&mut self, case_id: &str, file_id: &str, now: Millis) -> Result<Option<FileRecord>, ApiError> {
        let record = match self.file_on(case_id, file_id, now) {
            Ok(record) => record,
            Err(_)
                if self.switches.delete_twice == DeleteTwice::Ok
                    && self.deleted.get(file_id).is_some_and(|gone| gone.file.case_id == case_id) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let scanning = record.file.completed && record.file.status == FileStatus::Processing;
        if scanning && self.switches.delete_during_scan == Leniency::InvalidRequest {
            return Err(ApiError::invalid_request("The file is being processed."));
        }
        Ok(self.forget(file_id))
    }

    /// Looks up many ids on one case.
    pub(crate) fn batch(&mut self, case_id: &str, ids: &[String], now: Millis) -> Result<Found, ApiError> {
        let mut found = Found::default();
        for id in ids {
            match self.file_on(case_id, id, now) {
                Ok(record) => found.files.push(record),
                Err(error) => match self.switches.unknown_ids {
                    UnknownIds::InErrors => found.unknown.push(id.clone()),
                    UnknownIds::Absent => {}
                    UnknownIds::WholeCallNotFound => return Err(error),
                },
            }
        }
        Ok(found)
    }

    /// At most `most` related items of a case that satisfy `wanted`, from number `from` on.
    pub(crate) fn items(
        &mut self,
        case_id: &str,
        from: u64,
        most: usize,
        now: Millis,
        wanted: impl Fn(&Item) -> bool,
    ) -> ItemPage {
        let delay = self.switches.related_items_delay;
        let mut page = ItemPage::default();
        let mut at = from;
        while let Some((number, item)) = self
            .cases
            .get(case_id)
            .and_then(|case| case.items.range(at..).next().map(|(number, item)| (*number, item.clone())))
        {
            if page.items.len() == most {
                page.next = Some(number);
                break;
            }
            at = number + 1;
            if !wanted(&item) {
                continue;
            }
            let record = match &item {
                Item::File(id) => match self.file(id, now) {
                    Some(record) if now >= record.file.created_at.plus(delay) => Some(record),
                    _ => continue,
                },
                Item::Comment { .. } => None,
            };
            page.items.push((item, record));
        }
        page
    }

    /// Every file that exists at `now`, in the order of Starts.
    pub(crate) fn ledger(&mut self, now: Millis) -> Vec<LedgerFile> {
        let ids: Vec<String> = self.files.keys().cloned().collect();
        for id in &ids {
            self.advance(id, now);
        }
        let mut records: Vec<&FileRecord> = self.files.values().collect();
        records.sort_unstable_by_key(|record| record.number);
        records.into_iter().map(|record| record.file.clone()).collect()
    }

    /// Every file that was deleted, in that order.
    pub(crate) fn deleted(&self) -> Vec<LedgerFile> {
        self.deleted_order.iter().filter_map(|id| self.deleted.get(id)).map(|record| record.file.clone()).collect()
    }
}
