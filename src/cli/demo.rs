//! `casedrop demo`: a sandbox and the daemon on a folder, nothing else needed.
//!
//! The daemon is this program again, as a child: credentials reach the AWS SDK by environment, and a process may not
//! change its own safely. The child is in a process group of its own, so that one Ctrl-C reaches it once, from here,
//! and before the sandbox goes away. Everything that is kept lies beside the folder, never in it.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use casedrop_sandbox::{DEMO_CASE_ID, Sandbox, Scan, Settings};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;
use toml::Value;

use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use super::{context, sandbox};
use crate::run::signals::Stops;

/// Tries casedrop on a folder, with a stand-in for AWS.
///
/// Starts the sandbox and the daemon, says what to try, and runs until Ctrl-C. Nothing leaves this machine. Another
/// `demo` on the same folder goes on where this one stopped.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casedrop demo
  casedrop demo ~/drop
  casedrop demo ~/cases --case-from        one folder for each case")]
pub struct Args {
    /// The folder; created if absent.
    #[arg(default_value = "drop", value_hint = clap::ValueHint::DirPath)]
    folder: PathBuf,
    /// The first folder of each path is the case's id; any id (a UUID) is a case.
    #[arg(long)]
    case_from: bool,
}

/// A daemon that was asked to stop and runs on for so long is asked by the end of its stdin, too.
const STOP: Duration = Duration::from_secs(30);

/// How long the sandbox scans each file: long enough to be seen in `status`.
const SCAN: Duration = Duration::from_secs(2);

/// Where everything lies.
struct Places {
    folder: PathBuf,
    state: PathBuf,
    config: PathBuf,
    environment: PathBuf,
    journal: PathBuf,
    sandbox: PathBuf,
}

pub fn run(args: &Args, out: &mut Out) -> Ended {
    let places = places(&args.folder)?;
    if let Some(pid) = context::daemon(&places.journal) {
        let by = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
        return Err(Failed::new(Exit::Temporary, format!("a demo already runs on {}{by}", places.folder.display())));
    }
    if args.case_from {
        make(&places.folder.join(DEMO_CASE_ID))?;
    }
    context::runtime(true)?.block_on(Box::pin(async {
        // Before anybody is told of Ctrl-C.
        let mut stops = Stops::new();
        let mut settings = Settings::new(&places.sandbox);
        settings.scan = Scan::after(SCAN);
        let sandbox = Sandbox::start(settings).await?;
        sandbox.accept_any_case(args.case_from);
        write(&places.config, &config(&places, &sandbox, args.case_from)?)?;
        let lines = sandbox::environment(&sandbox).map(|(name, value)| format!("export {name}={value}\n"));
        write(&places.environment, &lines.concat())?;
        welcome(&places, &sandbox, args.case_from, out)?;
        let ended = daemon(&places, &sandbox, &mut stops).await;
        sandbox.shutdown().await;
        ended
    }))
}

fn make(folder: &Path) -> Result<(), Failed> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Failed::new(Exit::Person, format!("cannot create the folder {}: {e}", folder.display())))
}

fn write(path: &Path, text: &str) -> Result<(), Failed> {
    std::fs::write(path, text).map_err(|e| Failed::new(Exit::Person, format!("cannot write {}: {e}", path.display())))
}

/// Makes the folder and, beside it, the one for what is kept.
fn places(folder: &Path) -> Result<Places, Failed> {
    make(folder)?;
    // A mirror's root may be no symbolic link.
    let folder = folder
        .canonicalize()
        .map_err(|e| Failed::new(Exit::Person, format!("cannot use the folder {}: {e}", folder.display())))?;
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name().and_then(OsStr::to_str)) else {
        return Err(Failed::usage(format!("{} cannot be used for a demo", folder.display()))
            .hint("name a folder whose name is plain text"));
    };
    let state = parent.join(format!(".casedrop-demo-{name}"));
    make(&state)?;
    Ok(Places {
        config: state.join("casedrop.toml"),
        environment: state.join("aws.env"),
        journal: state.join("journal.db"),
        sandbox: state.join("sandbox"),
        folder,
        state,
    })
}

/// The configuration: short waits and generous limits, so that things happen while one looks.
fn config(places: &Places, sandbox: &Sandbox, case_from: bool) -> Result<String, Failed> {
    let quoted = |path: &Path| {
        let text = path.to_str();
        let text =
            text.ok_or_else(|| Failed::usage(format!("{} is not UTF-8: choose another folder", path.display())))?;
        Ok::<_, Failed>(Value::from(text).to_string())
    };
    let case = if case_from {
        "case_from = '^(?<case_id>[^/]+)/'".to_owned()
    } else {
        format!("case = \"{}/case/{DEMO_CASE_ID}\"", sandbox.domain_arn())
    };
    Ok(format!(
        "# Written anew by each `casedrop demo`.\n\
         [connect]\nregion = \"{region}\"\ninstance_id = \"{instance}\"\ncases_domain = \"{domain}\"\n\
         endpoint_url = \"{url}\"\ncases_endpoint_url = \"{url}\"\n\n\
         [journal]\npath = {journal}\n\n\
         [limits]\nrequests_per_second = 50.0\nburst = 50\n\n\
         [log]\nformat = \"text\"\n\n\
         [[mirror]]\nname = \"demo\"\npath = {folder}\n{case}\nsettle = \"2s\"\nrescan = \"1m\"\n\
         delete_grace = \"15s\"\ndelete_budget = \"50, 50%\"\n",
        region = sandbox.region(),
        instance = sandbox.instance_arn(),
        domain = sandbox.domain_arn(),
        url = sandbox.endpoint_url(),
        journal = quoted(&places.journal)?,
        folder = quoted(&places.folder)?,
    ))
}

fn welcome(places: &Places, sandbox: &Sandbox, case_from: bool, out: &mut Out) -> Result<(), Failed> {
    let program = std::env::args_os().next().unwrap_or_else(|| "casedrop".into());
    let program = quote(&program);
    let config = quote(places.config.as_os_str());
    let drop = if case_from { places.folder.join(DEMO_CASE_ID) } else { places.folder.clone() };
    writeln!(out, "A stand-in for AWS listens at {}, the daemon starts now.\n", sandbox.endpoint_url())?;
    writeln!(out, "  put files into  {}", drop.display())?;
    if case_from {
        writeln!(out, "                  (or into any folder beside it that is named by a UUID: one for each case)")?;
    }
    writeln!(out, "  attachments in  {}", places.sandbox.join("cases").display())?;
    writeln!(out, "  all is kept in  {}", places.state.display())?;
    writeln!(out, "\nIn a second shell:")?;
    let example = if case_from { format!("{DEMO_CASE_ID}/letter.pdf") } else { "letter.pdf".to_owned() };
    for command in ["status", "list", &format!("why {example}"), "log --follow", "plan"] {
        writeln!(out, "  {program} --config {config} {command}")?;
    }
    writeln!(out, "and, with the stand-in's credentials:")?;
    let environment = quote(places.environment.as_os_str());
    writeln!(out, "  (. {environment} && {program} --config {config} get {example} -o /tmp/letter.pdf)")?;
    writeln!(
        out,
        "\nFiles are taken 2s after their last change, scanned for 2s, and deleted 15s after they are gone."
    )?;
    writeln!(out, "Ctrl-C ends both; another `casedrop demo` goes on where this one stopped.\n")?;
    out.flush()
}

/// A word for a shell.
fn quote(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn start(places: &Places, sandbox: &Sandbox) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--config").arg(&places.config).args(["run", "--until-stdin-ends"]).process_group(0);
    // A line between the two: it breaks when this process ends, however it ends, and then the daemon stops too.
    command.stdin(Stdio::piped());
    // Nothing of the user's own AWS settings, nor a proxy, may come between the daemon and the sandbox.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"AWS_") {
            command.env_remove(name);
        }
    }
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1").env_remove("NOTIFY_SOCKET");
    command.envs(sandbox::environment(sandbox));
    command.spawn()
}

/// Runs the daemon until it ends, passing on each Ctrl-C and SIGTERM.
async fn daemon(places: &Places, sandbox: &Sandbox, stops: &mut Stops) -> Ended {
    let failed = |e: std::io::Error| Failed::new(Exit::Temporary, format!("cannot start the daemon: {e}"));
    let mut child = start(places, sandbox).map_err(failed)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // Kept here, because waiting for a child closes its stdin.
    let mut line = child.stdin.take();
    let (sender, mut ended) = oneshot::channel();
    std::thread::spawn(move || {
        // Nobody listens any more only when the whole program ends.
        let _ = sender.send(child.wait());
    });
    let mut asked = false;
    loop {
        // Its stop takes less.
        let patience = tokio::time::sleep(STOP);
        tokio::select! {
            status = &mut ended => {
                return match status {
                    Ok(Ok(status)) => Ok(exit(status, asked)),
                    Ok(Err(e)) => Err(failed(e)),
                    Err(_) => Err(Failed::new(Exit::Temporary, "the daemon was lost sight of")),
                };
            }
            // It was deaf: it may have been about to listen.
            () = patience, if asked && line.is_some() => drop(line.take()),
            () = stops.next() => {
                asked = true;
                if let Some(pid) = pid {
                    // It may have ended this very moment; then the other arm comes next.
                    let _ = kill_process(pid, Signal::TERM);
                }
            }
        }
    }
}

/// The child's code is ours; a child that was asked to stop and died of it is done.
fn exit(status: ExitStatus, asked: bool) -> Exit {
    match status.code() {
        Some(0) => Exit::Done,
        Some(2) => Exit::Usage,
        Some(75) => Exit::Temporary,
        Some(78) => Exit::Person,
        None if asked => Exit::Done,
        Some(_) | None => Exit::Parked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quote(OsStr::new("/a/b-c.toml")), "/a/b-c.toml");
        assert_eq!(quote(OsStr::new("/a b/it's")), "'/a b/it'\\''s'");
    }

    #[tokio::test]
    async fn the_configuration_it_writes_is_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(&dir.path().join("my \"drop\"")).unwrap();
        assert!(!places.state.starts_with(&places.folder), "nothing is kept in the folder");
        let sandbox = Sandbox::start(Settings::new(&places.sandbox)).await.unwrap();
        for case_from in [false, true] {
            let text = config(&places, &sandbox, case_from).unwrap();
            let config = Config::parse(&text, &places.config, &|_| None).unwrap();
            assert!(config.check_paths(&|_| false).is_empty());
            assert_eq!(config.mirrors[0].path, places.folder);
        }
        sandbox.shutdown().await;
    }
}
