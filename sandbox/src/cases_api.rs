//! The Cases operations: search, read and list.
//!
//! Member names, paths and limits: the service model `connectcases` 2022-10-03 (SERVICE.md 7).

use serde::Deserialize;
use serde_json::{Value, json};

use crate::files_api::parse;
use crate::ids;
use crate::model::{Item, Model};
use crate::record::CaseInfo;
use crate::reply::{ApiError, Reply};
use crate::server::Call;
use crate::state::Shared;
use crate::uri;

/// The newer field, which older domains lack (SERVICE.md 7: its id is a guess).
const REFERENCE_ID: &str = "reference_id";

/// System fields, as ListFields shows them (SERVICE.md 7): id, name, type.
const FIELDS: [(&str, &str, &str); 7] = [
    ("case_id", "Case ID", "Text"),
    ("reference_number", "Reference number", "Text"),
    (REFERENCE_ID, "Reference ID", "Text"),
    ("title", "Title", "Text"),
    ("status", "Status", "SingleSelect"),
    ("created_datetime", "Date/Time opened", "DateTime"),
    ("last_updated_datetime", "Date/Time updated", "DateTime"),
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldId {
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SearchCasesBody {
    max_results: Option<i64>,
    next_token: Option<String>,
    search_term: Option<String>,
    filter: Option<Value>,
    fields: Option<Vec<FieldId>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SearchItemsBody {
    max_results: Option<i64>,
    next_token: Option<String>,
    filters: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
struct GetCaseBody {
    fields: Option<Vec<FieldId>>,
}

fn check_domain(domain_id: &str) -> Result<(), ApiError> {
    if domain_id == ids::DOMAIN_ID { Ok(()) } else { Err(ApiError::cases_not_found("Domain", domain_id)) }
}

fn page_size(asked: Option<i64>, most: usize) -> Result<usize, ApiError> {
    match asked {
        None => Ok(most),
        Some(count) => usize::try_from(count)
            .ok()
            .filter(|count| (1..=most).contains(count))
            .ok_or_else(|| ApiError::validation(format!("maxResults must be from 1 to {most}."))),
    }
}

/// Tokens are plain numbers behind a word, opaque enough for a caller and readable for a person.
fn token_number(token: Option<&str>) -> Result<u64, ApiError> {
    match token {
        None | Some("") => Ok(0),
        Some(text) => text
            .strip_prefix("from-")
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| ApiError::validation("nextToken is not one of ours.")),
    }
}

fn field(case: &CaseInfo, id: &str) -> Option<String> {
    Some(match id {
        "case_id" => case.case_id.clone(),
        "reference_number" => case.reference_number.clone(),
        REFERENCE_ID => return case.reference_id.clone(),
        "title" => case.title.clone(),
        "status" => case.status.as_str().to_owned(),
        "created_datetime" | "last_updated_datetime" => case.created_at.to_string(),
        _ => return None,
    })
}

fn field_values(case: &CaseInfo, wanted: &[FieldId]) -> Vec<Value> {
    wanted
        .iter()
        .filter_map(|wanted| {
            let value = field(case, &wanted.id)?;
            Some(json!({ "id": wanted.id, "value": { "stringValue": value } }))
        })
        .collect()
}

/// The one member of a union, refused if there is not exactly one.
fn union(value: &Value) -> Result<(&str, &Value), ApiError> {
    let object = value.as_object();
    match (object.map(serde_json::Map::len), object.and_then(|o| o.iter().next())) {
        (Some(1), Some((name, inner))) => Ok((name, inner)),
        _ => Err(ApiError::validation("A filter must have exactly one member.")),
    }
}

/// Field id and text of `{"id": …, "value": {"stringValue": …}}`.
fn field_text(value: &Value) -> Result<(&str, &str), ApiError> {
    let id = value.get("id").and_then(Value::as_str);
    let text = value.pointer("/value/stringValue").and_then(Value::as_str);
    match (id, text) {
        (Some(id), Some(text)) => Ok((id, text)),
        _ => Err(ApiError::validation("A field filter needs an id and a stringValue.")),
    }
}

fn terms(value: &Value) -> Result<&[Value], ApiError> {
    value
        .as_array()
        .map(Vec::as_slice)
        .filter(|terms| terms.len() <= 10)
        .ok_or_else(|| ApiError::validation("andAll and orAll hold at most 10 filters."))
}

/// Whether a case satisfies a filter. `depth` bounds what a hostile body can nest; `folds` = reference ids are compared
/// without regard to case.
fn satisfies(case: &CaseInfo, filter: &Value, folds: bool, depth: u8) -> Result<bool, ApiError> {
    let Some(deeper) = depth.checked_sub(1) else {
        return Err(ApiError::validation("The filter is nested too deeply."));
    };
    let (name, inner) = union(filter)?;
    match name {
        "field" => {
            let (comparison, value) = union(inner)?;
            let (id, text) = field_text(value)?;
            let held = field(case, id);
            Ok(match comparison {
                "equalTo" if id == REFERENCE_ID && folds => held.is_some_and(|held| held.eq_ignore_ascii_case(text)),
                "equalTo" => held.as_deref() == Some(text),
                "contains" => held.is_some_and(|held| held.contains(text)),
                "greaterThan" => held.as_deref() > Some(text),
                "greaterThanOrEqualTo" => held.as_deref() >= Some(text),
                "lessThan" => held.is_some_and(|held| held.as_str() < text),
                "lessThanOrEqualTo" => held.is_some_and(|held| held.as_str() <= text),
                _ => return Err(ApiError::validation("Unknown comparison.")),
            })
        }
        "not" => satisfies(case, inner, folds, deeper).map(|yes| !yes),
        "andAll" => terms(inner)?.iter().try_fold(true, |all, term| Ok(satisfies(case, term, folds, deeper)? && all)),
        "orAll" => terms(inner)?.iter().try_fold(false, |any, term| Ok(satisfies(case, term, folds, deeper)? || any)),
        // Our cases carry no tags.
        "tag" => Ok(false),
        _ => Err(ApiError::validation("Unknown filter.")),
    }
}

/// Case ids a filter on number or id can only match; `None` when every case must be looked at.
fn candidates(model: &Model, filter: &Value, depth: u8) -> Option<Vec<String>> {
    let deeper = depth.checked_sub(1)?;
    let (name, inner) = union(filter).ok()?;
    match name {
        "field" => {
            let (id, text) = field_text(inner.get("equalTo")?).ok()?;
            match id {
                "reference_number" => Some(model.cases_by_reference(text).to_vec()),
                "case_id" => Some(vec![text.to_owned()]),
                _ => None,
            }
        }
        "orAll" => {
            let mut all = Vec::new();
            for term in terms(inner).ok()? {
                for id in candidates(model, term, deeper)? {
                    if !all.contains(&id) {
                        all.push(id);
                    }
                }
            }
            Some(all)
        }
        "andAll" => terms(inner).ok()?.iter().find_map(|term| candidates(model, term, deeper)),
        _ => None,
    }
}

/// Greatest depth of a filter.
const DEPTH: u8 = 16;

pub(crate) fn search_cases(shared: &Shared, call: &Call, domain_id: &str) -> Result<Reply, ApiError> {
    check_domain(domain_id)?;
    let body: SearchCasesBody = parse(&call.body)?;
    let size = page_size(body.max_results, 100)?;
    let from = usize::try_from(token_number(body.next_token.as_deref())?).unwrap_or(usize::MAX);
    let wanted = body.fields.unwrap_or_default();
    if wanted.len() > 25 {
        return Err(ApiError::validation("fields holds at most 25 entries."));
    }
    let term = body.search_term.unwrap_or_default().to_lowercase();
    let now = shared.clock.now();
    let hits: Vec<CaseInfo> = {
        let model = shared.model();
        let (folds, lag) = (model.switches.search_ignores_case, model.switches.search_cases_delay);
        let narrowed = body.filter.as_ref().and_then(|filter| candidates(&model, filter, DEPTH));
        let cases: Vec<&CaseInfo> = match &narrowed {
            Some(ids) => ids.iter().filter_map(|id| model.case_info(id)).collect(),
            None => model.cases().collect(),
        };
        if let (Some(filter), Some(demo)) = (&body.filter, model.cases().next()) {
            // A bad filter is refused even when there is no case to try it on.
            satisfies(demo, filter, folds, DEPTH)?;
        }
        let mut hits = Vec::new();
        for case in cases {
            if now < case.created_at.plus(lag) {
                // The index has not heard of it yet.
                continue;
            }
            let found = match &body.filter {
                Some(filter) => satisfies(case, filter, folds, DEPTH)?,
                None => true,
            };
            let named =
                term.is_empty() || case.title.to_lowercase().contains(&term) || case.reference_number.contains(&term);
            if found && named {
                hits.push(case.clone());
            }
        }
        hits
    };
    let page: Vec<Value> = hits
        .iter()
        .skip(from)
        .take(size)
        .map(|case| {
            json!({
                "caseId": case.case_id,
                "templateId": ids::TEMPLATE_ID,
                "fields": field_values(case, &wanted),
                "tags": {},
            })
        })
        .collect();
    let mut answer = json!({ "cases": page, "totalCount": hits.len() });
    let end = from.saturating_add(size);
    if end < hits.len() {
        add(&mut answer, "nextToken", json!(format!("from-{end}")));
    }
    Ok(Reply::json(&answer))
}

fn add(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

pub(crate) fn get_case(shared: &Shared, call: &mut Call, domain_id: &str, case_id: &str) -> Result<Reply, ApiError> {
    check_domain(domain_id)?;
    call.case_id = Some(case_id.to_owned());
    let body: GetCaseBody = parse(&call.body)?;
    let wanted = body.fields.unwrap_or_default();
    if !(1..=220).contains(&wanted.len()) {
        return Err(ApiError::validation("fields must hold 1 to 220 entries."));
    }
    let case = shared.case(case_id).ok_or_else(|| ApiError::cases_not_found("Case", case_id))?;
    Ok(Reply::json(&json!({
        "templateId": ids::TEMPLATE_ID,
        "fields": field_values(&case, &wanted),
        "tags": {},
    })))
}

/// Whether a related item passes the type filters; no filter lets all pass.
fn passes(item: &Item, filters: &[Value]) -> bool {
    filters.is_empty()
        || filters.iter().any(|filter| match item {
            Item::Comment { .. } => filter.get("comment").is_some(),
            Item::File(id) => filter.get("file").is_some_and(|file| {
                file.get("fileArn").and_then(Value::as_str).is_none_or(|arn| arn == ids::file_arn(id))
            }),
        })
}

pub(crate) fn search_related_items(
    shared: &Shared,
    call: &mut Call,
    domain_id: &str,
    case_id: &str,
) -> Result<Reply, ApiError> {
    check_domain(domain_id)?;
    call.case_id = Some(case_id.to_owned());
    let body: SearchItemsBody = parse(&call.body)?;
    let size = page_size(body.max_results, 25)?;
    let from = token_number(body.next_token.as_deref())?;
    let filters = body.filters.unwrap_or_default();
    if filters.len() > 10 {
        return Err(ApiError::validation("filters holds at most 10 entries."));
    }
    for filter in &filters {
        union(filter)?;
    }
    shared.case(case_id).ok_or_else(|| ApiError::cases_not_found("Case", case_id))?;
    let now = shared.clock.now();
    let page = shared.model().items(case_id, from, size, now, |item| passes(item, &filters));
    let items: Vec<Value> = page
        .items
        .iter()
        .filter_map(|(item, record)| match (item, record) {
            (Item::File(id), Some(record)) => Some(json!({
                "relatedItemId": record.related_item_id,
                "type": "File",
                "associationTime": record.file.created_at,
                "content": { "file": { "fileArn": ids::file_arn(id) } },
                "tags": {},
            })),
            (Item::Comment { id, at }, _) => Some(json!({
                "relatedItemId": id,
                "type": "Comment",
                "associationTime": at,
                "content": { "comment": { "body": "A comment", "contentType": "Text/Plain" } },
                "tags": {},
            })),
            (Item::File(_), None) => None,
        })
        .collect();
    let mut answer = json!({ "relatedItems": items });
    if let Some(next) = page.next {
        add(&mut answer, "nextToken", json!(format!("from-{next}")));
    }
    Ok(Reply::json(&answer))
}

fn query_count(call: &Call, most: usize) -> Result<usize, ApiError> {
    let asked = uri::query_value(&call.query, "maxResults").map(|text| text.parse::<i64>().unwrap_or(-1));
    page_size(asked, most)
}

pub(crate) fn list_domains(call: &Call) -> Result<Reply, ApiError> {
    query_count(call, 10)?;
    Ok(Reply::json(&json!({
        "domains": [{
            "domainId": ids::DOMAIN_ID,
            "domainArn": ids::domain_arn(),
            "name": "casedrop-sandbox",
        }]
    })))
}

pub(crate) fn list_fields(shared: &Shared, call: &Call, domain_id: &str) -> Result<Reply, ApiError> {
    check_domain(domain_id)?;
    let size = query_count(call, 100)?;
    let token = uri::query_value(&call.query, "nextToken");
    let from = usize::try_from(token_number(token)?).unwrap_or(usize::MAX);
    let with_ids = shared.model().switches.reference_id_field;
    let shown: Vec<_> = FIELDS.iter().filter(|(id, ..)| with_ids || *id != REFERENCE_ID).collect();
    let fields: Vec<Value> = shown
        .iter()
        .skip(from)
        .take(size)
        .map(|(id, name, kind)| {
            json!({
                "fieldId": id,
                "fieldArn": format!("{}/field/{id}", ids::domain_arn()),
                "name": name,
                "type": kind,
                "namespace": "System",
            })
        })
        .collect();
    let mut answer = json!({ "fields": fields });
    let end = from.saturating_add(size);
    if end < shown.len() {
        add(&mut answer, "nextToken", json!(format!("from-{end}")));
    }
    Ok(Reply::json(&answer))
}
