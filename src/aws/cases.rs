//! The calls to Cases: which files are on a case, which case a reference means, and which domain there is.

use aws_sdk_connectcases::types::{
    CaseFilter, FieldFilter, FieldIdentifier, FieldNamespace, FieldValue, FieldValueUnion, FileFilter,
    RelatedItemContent, RelatedItemTypeFilter,
};

use super::Client;
use super::calls::file_in_arn;
use super::classify::{Cause, classify};
use super::failure::{Failure, Op};
use super::sdk::{self, Answered};
use crate::core::reference::{Candidate, NUMBER_FIELD};
use crate::crash::{self, Point};
use crate::types::{CaseArn, FileId};

/// A page holds at most 25 (SERVICE.md 1.3).
const PAGE: i32 = 25;
/// No listing needs more pages; a service that repeats its token must not hold us forever (LESSONS L32).
const MOST_PAGES: usize = 1000;
/// Cases that one search answers at most (the model's bound).
const MOST_CASES: i32 = 100;
/// System fields (SERVICE.md 7).
const TITLE: &str = "title";
const STATUS: &str = "status";

impl Client {
    /// Every file on the case, whoever put it there.
    pub async fn case_files(&self, case: &CaseArn) -> Result<Vec<FileId>, Failure> {
        let mut files = Vec::new();
        let mut token = None;
        for _ in 0..MOST_PAGES {
            let call = self
                .inner
                .cases
                .search_related_items()
                .domain_id(case.domain_id())
                .case_id(case.case_id())
                .max_results(PAGE)
                .filters(RelatedItemTypeFilter::File(FileFilter::builder().build()))
                .set_next_token(token);
            crash::at(Point::ListCaseSend);
            let page = self.inner.call(Op::SearchRelated, call.send()).await?;
            crash::at(Point::ListCaseAnswered);
            for item in page.related_items.into_iter().flatten() {
                // A filter that is not honoured must not bring in comments and contacts.
                let Some(RelatedItemContent::File(content)) = item.content else { continue };
                let Some(file) = file_in_arn(&content.file_arn) else {
                    return Err(bad_answer(Op::SearchRelated, "a file on the case has no readable ARN"));
                };
                files.push(file);
            }
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(files);
            }
        }
        Err(bad_answer(Op::SearchRelated, "the listing does not end"))
    }

    /// The cases of which any of these fields (id, value; at most ten) has that very value: at most 100 of them, and
    /// the service's count of all.
    pub async fn search_cases(
        &self,
        domain_id: &str,
        terms: &[(String, String)],
        id_field: Option<&str>,
    ) -> Result<(Vec<Candidate>, u64), Failure> {
        let term = |(field, value): &(String, String)| {
            let value = FieldValue::builder().id(field).value(FieldValueUnion::StringValue(value.clone())).build();
            Ok(CaseFilter::Field(FieldFilter::EqualTo(value.map_err(|_| unbuildable(Op::SearchCases))?)))
        };
        let terms = terms.iter().map(term).collect::<Result<Vec<_>, Failure>>()?;
        let call = self
            .inner
            .cases
            .search_cases()
            .domain_id(domain_id)
            .max_results(MOST_CASES)
            .filter(CaseFilter::OrAll(terms))
            .set_fields(Some(shown_fields(Op::SearchCases, id_field)?));
        crash::at(Point::SearchCasesSend);
        let answer = self.inner.call(Op::SearchCases, call.send()).await?;
        crash::at(Point::SearchCasesAnswered);
        let total = u64::try_from(answer.total_count).unwrap_or(0);
        let hits: Vec<Candidate> =
            answer.cases.into_iter().flatten().map(|hit| candidate(hit.case_id, hit.fields, id_field)).collect();
        // A page that does not hold all must not look as if it did, whatever the count says.
        let more = u64::from(answer.next_token.is_some_and(|token| !token.is_empty()));
        let total = total.max(hits.len() as u64 + more);
        Ok((hits, total))
    }

    /// A case as it stands now.
    pub async fn case_state(&self, case: &CaseArn) -> Result<Candidate, Failure> {
        let call = self
            .inner
            .cases
            .get_case()
            .domain_id(case.domain_id())
            .case_id(case.case_id())
            .set_fields(Some(shown_fields(Op::GetCase, None)?));
        crash::at(Point::GetCaseSend);
        let answer = self.inner.call(Op::GetCase, call.send()).await?;
        crash::at(Point::GetCaseAnswered);
        // A field of the answer may be absent, as the model has it.
        Ok(candidate(case.case_id().to_owned(), answer.fields, None))
    }

    /// The ids of a domain's fields, each with whether it is one of the system's.
    pub async fn case_fields(&self, domain_id: &str) -> Result<Vec<(String, bool)>, Failure> {
        let (mut fields, mut token) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let call = self.inner.cases.list_fields().domain_id(domain_id).set_next_token(token);
            crash::at(Point::ListFieldsSend);
            let page = self.inner.call(Op::ListFields, call.send()).await?;
            crash::at(Point::ListFieldsAnswered);
            fields.extend(page.fields.into_iter().map(|f| (f.field_id, f.namespace == FieldNamespace::System)));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(fields);
            }
        }
        Err(bad_answer(Op::ListFields, "the listing does not end"))
    }

    /// The ARN of a Cases domain, which also tells partition, Region and account (SERVICE.md 3.2).
    pub async fn domain_arn(&self, domain_id: &str) -> Result<String, Failure> {
        let mut token = None;
        for _ in 0..MOST_PAGES {
            let call = self.inner.cases.list_domains().set_next_token(token);
            crash::at(Point::ListDomainsSend);
            let page = self.inner.call(Op::ListDomains, call.send()).await?;
            crash::at(Point::ListDomainsAnswered);
            if let Some(domain) = page.domains.into_iter().find(|domain| domain.domain_id == domain_id) {
                return Ok(domain.domain_arn);
            }
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                let class = classify(
                    Op::ListDomains,
                    Cause::Answer { http: 404, code: "ResourceNotFoundException", reason: None, message: "" },
                );
                let message = format!("there is no Cases domain {domain_id} in this account and Region");
                return Err(sdk::build(
                    Op::ListDomains,
                    class,
                    "NoSuchDomain".to_owned(),
                    &message,
                    Answered::default(),
                ));
            }
        }
        Err(bad_answer(Op::ListDomains, "the listing does not end"))
    }
}

/// What is told of a case: its numbers, title and status.
fn shown_fields(op: Op, id_field: Option<&str>) -> Result<Vec<FieldIdentifier>, Failure> {
    let ids = [NUMBER_FIELD, TITLE, STATUS].into_iter().chain(id_field);
    ids.map(|id| FieldIdentifier::builder().id(id).build().map_err(|_| unbuildable(op))).collect()
}

fn candidate(case_id: String, fields: Vec<FieldValue>, id_field: Option<&str>) -> Candidate {
    let mut found =
        Candidate { case_id, title: String::new(), status: String::new(), number: String::new(), id: String::new() };
    for field in fields {
        let Some(FieldValueUnion::StringValue(text)) = field.value else { continue };
        let text = super::text::clean(&text);
        match field.id.as_str() {
            NUMBER_FIELD => found.number = text,
            TITLE => found.title = text,
            STATUS => found.status = text,
            id if Some(id) == id_field => found.id = text,
            _ => {}
        }
    }
    found
}

fn unbuildable(op: Op) -> Failure {
    sdk::build(op, classify(op, Cause::Unbuildable), "InvalidInput".to_owned(), "", Answered::default())
}

fn bad_answer(op: Op, message: &str) -> Failure {
    sdk::build(op, classify(op, Cause::Lost), "BadAnswer".to_owned(), message, Answered::default())
}
