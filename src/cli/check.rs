//! `casedrop check`: would it work here? One line for each question: `ok`, `warn` or `FAIL`, with the remedy.

mod host;
mod service;

use std::path::Path;

use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use super::words::plain;
use super::{context, logging, policy};

/// Configuration, folders, limits of this host, credentials, endpoint, instance settings.
///
/// Then prints the least IAM policy for exactly this configuration. Changes nothing. Exit code 78 when something must be
/// put right, 75 when only AWS was out of reach.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casedrop check
  casedrop check --offline                 without a call to AWS
  casedrop check --effective               with every default filled in
  casedrop check --policy-only | aws iam put-role-policy … --policy-document file:///dev/stdin")]
pub struct Args {
    /// Makes no call to AWS.
    #[arg(long)]
    offline: bool,
    /// Prints the configuration in force, defaults filled in, as TOML.
    #[arg(long)]
    effective: bool,
    /// Prints the IAM policy and nothing else; checks only that the configuration can be read.
    #[arg(long, conflicts_with = "effective")]
    policy_only: bool,
}

/// The worst that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worst {
    Nothing,
    Temporary,
    Person,
}

/// Writes the lines and remembers the worst.
struct Lines<'o> {
    out: &'o mut Out,
    worst: Worst,
}

impl Lines<'_> {
    fn line(&mut self, mark: &str, what: &str, text: &str, remedy: &str) -> Result<(), Failed> {
        writeln!(self.out, "{mark:<5} {what}: {}", plain(text))?;
        if !remedy.is_empty() {
            writeln!(self.out, "      {remedy}")?;
        }
        // Seen as it comes: a call to AWS may take a while.
        self.out.flush()
    }

    fn ok(&mut self, what: &str, text: &str) -> Result<(), Failed> {
        self.line("ok", what, text, "")
    }

    fn warn(&mut self, what: &str, text: &str, remedy: &str) -> Result<(), Failed> {
        self.line("warn", what, text, remedy)
    }

    fn fail(&mut self, what: &str, text: &str, remedy: &str) -> Result<(), Failed> {
        self.worst = Worst::Person;
        self.line("FAIL", what, text, remedy)
    }

    /// A failure that passes by itself.
    fn out_of_reach(&mut self, what: &str, text: &str, remedy: &str) -> Result<(), Failed> {
        self.worst = self.worst.max(Worst::Temporary);
        self.line("FAIL", what, text, remedy)
    }
}

pub fn run(args: &Args, path: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::config(path)?;
    if args.policy_only {
        out.pretty(&policy::least(&config, None))?;
        return Ok(Exit::Done);
    }
    logging::start(&config.log, "warn")?;
    let mut lines = Lines { out, worst: Worst::Nothing };
    lines.ok("configuration", "every key and value is allowed")?;
    for problem in context::path_problems(&config) {
        lines.fail("configuration", &problem.to_string(), "")?;
    }
    for mirror in &config.mirrors {
        host::root(mirror, &mut lines)?;
        host::stores(mirror, &mut lines)?;
    }
    host::watches(&config, &mut lines)?;
    host::journal(&config, &mut lines)?;
    host::open_files(&config, &mut lines)?;
    host::programs(&config, &mut lines)?;
    let mut domain_arn = None;
    if args.offline {
        lines.warn("AWS", "not asked (--offline)", "")?;
    } else {
        domain_arn = context::runtime(false)?.block_on(Box::pin(service::ask(&config, &mut lines)))?;
    }
    let worst = lines.worst;
    if args.effective {
        writeln!(out, "\nThe configuration in force:\n")?;
        write!(out, "{}", config.effective())?;
    }
    let least = policy::least(&config, domain_arn.as_deref());
    writeln!(out, "\nThe least IAM policy for this configuration:\n")?;
    out.pretty(&least)?;
    writeln!(
        out,
        "\nIf AWS still denies StartAttachedFileUpload, add connect:TagResource on instance/*/file/*: whether the tags \
         need it is not documented."
    )?;
    if policy::has_placeholder(&least) {
        writeln!(out, "Fill in REGION, ACCOUNT and DOMAIN, or give ARNs for `instance_id` and `cases_domain`.")?;
    }
    Ok(match worst {
        Worst::Nothing => Exit::Done,
        Worst::Temporary => Exit::Temporary,
        Worst::Person => Exit::Person,
    })
}
