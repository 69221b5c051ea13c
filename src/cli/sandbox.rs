//! `casedrop sandbox`: the stand-in for AWS alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use casedrop_sandbox::{CaseStatus, NewCase, Sandbox, SandboxError, Script, Settings};

use super::context;
use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use crate::core::routing::parse_uuid;
use crate::run::signals::Stops;

/// A stand-in for AWS on this machine, for tries and tests.
///
/// Speaks what Connect, Cases and S3 speak, on loopback; its credentials and ARNs are ones AWS could never issue. What
/// it holds lies in a folder that a person can read. Runs until Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casedrop sandbox
  casedrop sandbox --listen 127.0.0.1:0 --state ./sandbox-state --script faults.toml")]
pub struct Args {
    /// Address to listen on; loopback only, port 0 lets the system choose.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8990")]
    listen: SocketAddr,
    /// Folder of its state; created if absent, taken up again if not.
    #[arg(long, value_name = "DIR", default_value = "casedrop-sandbox", value_hint = clap::ValueHint::DirPath)]
    state: PathBuf,
    /// Limits, throttling, scan verdicts and scripted faults, as TOML.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    script: Option<PathBuf>,
    /// Adds a case with this id; may be given several times.
    #[arg(long = "case-id", value_name = "UUID", value_parser = uuid)]
    case_id: Vec<String>,
}

fn uuid(text: &str) -> Result<String, String> {
    parse_uuid(text).ok_or_else(|| "a case id is a UUID, such as 5a5d0000-0000-4000-8000-0000000000c2".to_owned())
}

impl From<SandboxError> for Failed {
    fn from(error: SandboxError) -> Self {
        use std::error::Error as _;
        let why = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        let exit = match &error {
            SandboxError::NotLoopback(_) | SandboxError::Script(_) | SandboxError::Pattern(_) => Exit::Usage,
            SandboxError::Listen { .. } | SandboxError::State { .. } => Exit::Person,
            SandboxError::Threads(_) | SandboxError::UnknownCase(_) => Exit::Temporary,
        };
        // The others are bare verbs, written to be read behind a word like this.
        let cannot = match &error {
            SandboxError::NotLoopback(_) | SandboxError::UnknownCase(_) => "",
            SandboxError::Listen { .. }
            | SandboxError::State { .. }
            | SandboxError::Threads(_)
            | SandboxError::Pattern(_)
            | SandboxError::Script(_) => "cannot ",
        };
        Self::new(exit, format!("{cannot}{error}{why}"))
    }
}

pub fn run(args: &Args, out: &mut Out) -> Ended {
    let mut settings = Settings::new(&args.state);
    settings.listen = args.listen;
    if let Some(path) = &args.script {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failed::usage(format!("cannot read the script {}: {e}", path.display())))?;
        Script::parse(&text)?.apply(&mut settings);
    }
    context::runtime(false)?.block_on(async {
        let mut stops = Stops::new();
        let sandbox = Sandbox::start(settings).await?;
        for id in &args.case_id {
            sandbox.add_case(NewCase {
                case_id: Some(id.clone()),
                reference_number: None,
                title: format!("Case {id}"),
                status: CaseStatus::Open,
            });
        }
        show(&sandbox, args, out)?;
        out.flush()?;
        stops.next().await;
        sandbox.shutdown().await;
        Ok(Exit::Done)
    })
}

/// The environment with which any AWS program reaches the sandbox.
pub fn environment(sandbox: &Sandbox) -> [(&'static str, String); 5] {
    [
        ("AWS_ACCESS_KEY_ID", sandbox.access_key_id().to_owned()),
        ("AWS_SECRET_ACCESS_KEY", sandbox.secret_access_key().to_owned()),
        ("AWS_REGION", sandbox.region().to_owned()),
        ("AWS_ENDPOINT_URL_CONNECT", sandbox.endpoint_url()),
        ("AWS_ENDPOINT_URL_CONNECTCASES", sandbox.endpoint_url()),
    ]
}

fn show(sandbox: &Sandbox, args: &Args, out: &mut Out) -> Result<(), Failed> {
    writeln!(out, "# The sandbox listens at {}; its state is in {}", sandbox.endpoint_url(), args.state.display())?;
    writeln!(out, "# instance {}", sandbox.instance_arn())?;
    writeln!(out, "# domain   {}", sandbox.domain_arn())?;
    for case in sandbox.cases() {
        writeln!(out, "# case     {}  {}", case.arn, super::words::plain(&case.title))?;
    }
    writeln!(out, "\n# Environment:")?;
    for (name, value) in environment(sandbox) {
        writeln!(out, "export {name}={value}")?;
    }
    let case = sandbox.cases().into_iter().next().map(|case| case.arn).unwrap_or_default();
    writeln!(out, "\n# casedrop.toml:")?;
    writeln!(out, "[connect]")?;
    writeln!(out, "region = \"{}\"", sandbox.region())?;
    writeln!(out, "instance_id = \"{}\"", sandbox.instance_arn())?;
    writeln!(out, "cases_domain = \"{}\"", sandbox.domain_arn())?;
    writeln!(out, "endpoint_url = \"{}\"", sandbox.endpoint_url())?;
    writeln!(out, "cases_endpoint_url = \"{}\"", sandbox.endpoint_url())?;
    writeln!(out, "\n[[mirror]]\nname = \"try\"\npath = \"/srv/try\"\ncase = \"{case}\"\n\n# Ctrl-C ends it.")
}
