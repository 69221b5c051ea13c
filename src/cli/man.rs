//! `casedrop man`: the manual pages, from the same words as `--help`.

use std::path::PathBuf;

use clap::CommandFactory as _;

use super::exit::{Ended, Exit, Failed};
use super::out::Out;

/// Prints the manual pages, or writes them into a folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casedrop man | man -l -
  casedrop man --out /usr/local/share/man/man1")]
pub struct Args {
    /// Writes one page for each command into this folder.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    out: Option<PathBuf>,
}

pub fn run(args: &Args, out: &mut Out) -> Ended {
    for (name, page) in pages()? {
        let Some(dir) = &args.out else {
            out.bytes(&page)?;
            continue;
        };
        let failed = |path: &PathBuf, e: std::io::Error| {
            Failed::new(Exit::Temporary, format!("cannot write {}: {e}", path.display()))
        };
        std::fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
        let path = dir.join(name);
        std::fs::write(&path, page).map_err(|e| failed(&path, e))?;
    }
    Ok(Exit::Done)
}

/// File name and text of every page.
fn pages() -> Result<Vec<(String, Vec<u8>)>, Failed> {
    let mut root = super::Cli::command();
    root.build();
    let mut commands = vec![root.clone()];
    // `help` repeats what every page says.
    commands.extend(root.get_subcommands().filter(|command| command.get_name() != "help").cloned());
    let mut pages = Vec::new();
    for command in commands {
        let name = match command.get_name() {
            "casedrop" => "casedrop".to_owned(),
            sub => format!("casedrop-{sub}"),
        };
        let page = clap_mangen::Man::new(command).title(name.to_uppercase());
        let mut text = Vec::new();
        page.render(&mut text).map_err(|e| Failed::output(&e))?;
        pages.push((format!("{name}.1"), text));
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_command_has_a_page() {
        let pages = super::pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["casedrop.1", "casedrop-run.1", "casedrop-why.1", "casedrop-check.1"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(pages.iter().all(|(_, text)| text.starts_with(b".ie")), "each is a page by itself");
    }
}
