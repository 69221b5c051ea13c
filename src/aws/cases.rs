//! The calls to Cases: which files are on a case, and which domain there is.

use aws_sdk_connectcases::types::{FileFilter, RelatedItemContent, RelatedItemTypeFilter};

use super::Client;
use super::calls::file_in_arn;
use super::classify::{Cause, classify};
use super::failure::{Failure, Op};
use super::sdk::{self, Answered};
use crate::crash::{self, Point};
use crate::types::{CaseArn, FileId};

/// A page holds at most 25 (SERVICE.md 1.3).
const PAGE: i32 = 25;
/// No listing needs more pages; a service that repeats its token must not hold us forever (LESSONS L32).
const MOST_PAGES: usize = 1000;

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

fn bad_answer(op: Op, message: &str) -> Failure {
    sdk::build(op, classify(op, Cause::Lost), "BadAnswer".to_owned(), message, Answered::default())
}
