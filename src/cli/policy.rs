//! The least IAM policy for one configuration (SERVICE.md 3).
//!
//! A draft that the documentation supports, untested against AWS (SERVICE.md 3.2): which resource the connect actions
//! are checked against when a case ARN is given is not documented, so instance, files and cases are all listed.

use serde_json::{Value, json};

use crate::config::{Config, Domain};
use crate::core::routing::Routing;

/// What stands in an ARN where the configuration does not tell it.
const UNKNOWN: [&str; 3] = ["aws", "REGION", "ACCOUNT"];

/// Partition, Region and account of an ARN.
fn place(arn: &str) -> Option<[&str; 3]> {
    let mut parts = arn.strip_prefix("arn:")?.split(':');
    let (partition, _, region, account) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some([partition, region, account])
}

/// Whether an ARN in the policy holds a word that a person has to fill in.
pub fn has_placeholder(policy: &Value) -> bool {
    let text = policy.to_string();
    [":REGION:", ":ACCOUNT:", "domain/DOMAIN"].iter().any(|word| text.contains(word))
}

/// The policy. `domain_arn` is what ListDomains told, if it was asked.
pub fn least(config: &Config, domain_arn: Option<&str>) -> Value {
    let connect = &config.connect;
    let domain = domain_arn.map(str::to_owned).or_else(|| connect.domain_arn());
    let case_arns = config.mirrors.iter().filter_map(|mirror| match &mirror.routing {
        Routing::Arn(arn) => Some(arn.as_str()),
        Routing::Id(_) | Routing::ByPath(_) | Routing::BySidecar => None,
    });
    let known = [connect.instance_id.as_str()].into_iter().chain(domain.as_deref()).chain(case_arns).find_map(place);
    let [partition, region, account] = known.map_or_else(
        || {
            let [partition, region, account] = UNKNOWN;
            [partition, connect.region().unwrap_or(region), account].map(str::to_owned)
        },
        |known| known.map(str::to_owned),
    );
    let instance = format!("arn:{partition}:connect:{region}:{account}:instance/{}", connect.instance_id());
    let domain = domain.unwrap_or_else(|| {
        format!("arn:{partition}:cases:{region}:{account}:domain/{}", connect.domain_id().unwrap_or("DOMAIN"))
    });

    // The cases that can be named, and the domains they lie in.
    let (mut domains, mut cases) = (Vec::new(), Vec::new());
    for mirror in &config.mirrors {
        let (of, case) = match &mirror.routing {
            Routing::Arn(arn) => {
                let of = arn.as_str().split("/case/").next().unwrap_or_default().to_owned();
                (of, arn.as_str().to_owned())
            }
            Routing::Id(id) => (domain.clone(), format!("{domain}/case/{id}")),
            Routing::ByPath(_) | Routing::BySidecar => (domain.clone(), format!("{domain}/case/*")),
        };
        // A sidecar may name any case of the domain.
        if mirror.sidecar {
            domains.push(domain.clone());
            cases.push(format!("{domain}/case/*"));
        }
        domains.push(of);
        // Related items are named below their case.
        if !case.ends_with('*') {
            cases.push(format!("{case}/related-item/*"));
        }
        cases.push(case);
    }
    let all_of = |case: &str| cases.iter().any(|c| c.ends_with("/case/*") && case.starts_with(c.trim_end_matches('*')));
    let mut cases: Vec<String> = cases.iter().filter(|c| c.ends_with("/case/*") || !all_of(c)).cloned().collect();
    for list in [&mut domains, &mut cases] {
        list.sort();
        list.dedup();
    }
    let on_cases: Vec<&String> = domains.iter().chain(&cases).collect();
    let files: Vec<Value> = [instance.clone(), format!("{instance}/file/*")].map(Value::from).into();
    let files: Vec<Value> = files.into_iter().chain(on_cases.iter().map(|arn| json!(arn))).collect();

    let mut statements = vec![
        json!({
            "Sid": "Files", "Effect": "Allow",
            // Replaced versions and unfinished attempts are deleted too, so that delete = "keep" needs it as well.
            "Action": [
                "connect:StartAttachedFileUpload", "connect:CompleteAttachedFileUpload",
                "connect:BatchGetAttachedFileMetadata", "connect:GetAttachedFile", "connect:DeleteAttachedFile",
            ],
            "Resource": files,
        }),
        json!({
            "Sid": "Cases", "Effect": "Allow",
            "Action": ["cases:CreateRelatedItem", "cases:DeleteRelatedItem", "cases:SearchRelatedItems"],
            "Resource": on_cases,
        }),
    ];
    let mut setup = vec!["connect:DescribeAttachedFilesConfiguration"];
    if asks_for_domain(config) {
        setup.push("cases:ListDomains");
    }
    if config.mirrors.iter().any(crate::config::Mirror::uses_references) {
        statements.push(json!({
            "Sid": "References", "Effect": "Allow",
            "Action": ["cases:SearchCases", "cases:GetCase", "cases:ListFields"],
            // What ListFields is checked against is not documented; it reads names of fields only.
            "Resource": [domain.clone(), format!("{domain}/case/*"), format!("{domain}/field/*")],
        }));
    }
    statements.push(json!({ "Sid": "Setup", "Effect": "Allow", "Action": setup, "Resource": "*" }));
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// Whether ListDomains must be asked for the ARN of the domain.
pub fn asks_for_domain(config: &Config) -> bool {
    config.mirrors.iter().any(crate::config::Mirror::needs_domain)
        && config.connect.domain_arn().is_none()
        && matches!(config.connect.cases_domain, Some(Domain::Id(_)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(connect: &str, mirror: &str) -> Config {
        let text = format!(
            "[connect]\n{connect}\n[journal]\npath = \"/j.db\"\n[[mirror]]\nname = \"m\"\npath = \"/m\"\n{mirror}\n"
        );
        Config::parse(&text, Path::new("c"), &|_| None).unwrap()
    }

    const ID: &str = "11111111-2222-4333-8444-555555555555";

    #[test]
    fn everything_known_is_filled_in() {
        let connect = format!(
            "instance_id = \"arn:aws-us-gov:connect:us-gov-west-1:123456789012:instance/{ID}\"\ncases_domain = \"{ID}\""
        );
        let policy = least(&config(&connect, "case_from = '^(?<case_id>[^/]+)/'"), None);
        assert!(!has_placeholder(&policy), "{policy:#}");
        let text = policy.to_string();
        assert!(
            text.contains(&format!("arn:aws-us-gov:cases:us-gov-west-1:123456789012:domain/{ID}/case/*")),
            "{text}"
        );
        assert!(text.contains("/file/*") && !text.contains("ListDomains") && !text.contains("connectcases:"), "{text}");
    }

    #[test]
    fn one_case_is_allowed_one_case() {
        let case = format!("arn:aws:cases:eu-west-2:123456789012:domain/{ID}/case/{ID}");
        let policy = least(&config(&format!("instance_id = \"{ID}\""), &format!("case = \"{case}\"")), None);
        let text = policy.to_string();
        assert!(text.contains(&case) && !text.contains("case/*"), "{text}");
        assert!(text.contains("arn:aws:connect:eu-west-2:123456789012:instance/"), "the place is known from the case");
    }

    #[test]
    fn bare_ids_need_the_list_of_domains_and_leave_gaps() {
        let config = config(&format!("instance_id = \"{ID}\"\ncases_domain = \"{ID}\""), &format!("case = \"{ID}\""));
        let policy = least(&config, None);
        assert!(has_placeholder(&policy) && policy.to_string().contains("cases:ListDomains"));
        let domain = format!("arn:aws:cases:eu-west-2:123456789012:domain/{ID}");
        assert!(!has_placeholder(&least(&config, Some(&domain))));
    }
}
