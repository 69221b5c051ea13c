//! What AWS says: credentials, endpoint, instance settings, the domain.

use super::super::exit::{Exit, Failed, of_failure, remedy};
use super::super::policy;
use super::Lines;
use crate::aws::{Client, Failure, Next};
use crate::config::Config;
use crate::core::model::ParkCode;
use crate::types::ByteCount;

/// Asks; returns the domain's ARN if it had to be looked up.
pub async fn ask(config: &Config, lines: &mut Lines<'_>) -> Result<Option<String>, Failed> {
    let client = crate::run::client(config).await;
    let instance = config.connect.instance_id();
    if let Some(region) = config.connect.region() {
        lines.ok("region", region)?;
    }
    settings(&client, instance, lines).await?;
    if !policy::asks_for_domain(config) {
        if let Some(arn) = config.connect.domain_arn() {
            lines.ok("cases domain", &format!("{arn} (from the configuration)"))?;
        }
        return Ok(None);
    }
    let id = config.connect.domain_id().unwrap_or_default();
    match Box::pin(client.domain_arn(id)).await {
        Ok(arn) => {
            lines.ok("cases domain", &arn)?;
            Ok(Some(arn))
        }
        Err(failure) => {
            let text = if failure.next == Next::Gone {
                format!("ListDomains knows no domain {id}")
            } else {
                format!("its ARN cannot be looked up: {failure}")
            };
            told("cases domain", &text, &failure, "correct `cases_domain`, or give its ARN", lines)?;
            Ok(None)
        }
    }
}

/// One call proves credentials, clock, endpoint, instance and the right to read its settings.
async fn settings(client: &Client, instance: &str, lines: &mut Lines<'_>) -> Result<(), Failed> {
    let config = match Box::pin(client.attached_files_configuration()).await {
        Ok(config) => config,
        // The credentials are good, and casedrop goes on without.
        Err(failure) if failure.next == Next::Park(ParkCode::AccessDenied) => {
            lines.ok("credentials", "accepted; the clock is right enough for them")?;
            let text = format!("its settings may not be read, documented defaults are used: {failure}");
            return lines.warn(
                "instance",
                &text,
                "allow connect:DescribeAttachedFilesConfiguration, as in the policy below",
            );
        }
        Err(failure) => {
            let what = match failure.next {
                Next::Credentials => "credentials",
                Next::Offline => "endpoint",
                _ => "instance",
            };
            return told(what, &failure.to_string(), &failure, "correct `instance_id` and `region`", lines);
        }
    };
    // A clock off by more than a few minutes would have failed the signature.
    lines.ok("credentials", "accepted; the clock is right enough for them")?;
    let size = config.max_size.map_or_else(|| "not told".to_owned(), |bytes| ByteCount(bytes).to_string());
    let types = config.extensions.map_or_else(|| "not told".to_owned(), |list| list.join(" "));
    lines.ok("instance", &format!("{instance}: files up to {size}; types: {types}"))
}

/// A failed call: what passes by itself is told apart from what a person must put right.
fn told(what: &str, text: &str, failure: &Failure, else_do: &str, lines: &mut Lines<'_>) -> Result<(), Failed> {
    let advice = match failure.next {
        Next::Park(ParkCode::AccessDenied) => "compare the role with the policy below",
        Next::Park(_) | Next::Gone => else_do,
        _ => remedy(failure).unwrap_or(else_do),
    };
    match of_failure(failure) {
        Exit::Temporary => lines.out_of_reach(what, text, advice),
        Exit::Done | Exit::Parked | Exit::Usage | Exit::Work | Exit::Person => lines.fail(what, text, advice),
    }
}
