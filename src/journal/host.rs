//! The host that a journal belongs to: a copy of it on another host would attach everything twice and delete what the
//! other one still needs, and nobody could tell them apart at Connect.
//!
//! Told by the machine id (machine-id(5)), kept as a hash of it, as that page asks. Hosts that were cloned with their
//! machine id cannot be told apart; a host without one has nothing to be told by and is let through until it has one.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};
use sha2::{Digest as _, Sha256};

use super::error::JournalError;
use crate::types::{ContentHash, UnixMillis};

/// What this host is called and told by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    machine: Option<String>,
    name: String,
}

impl Host {
    /// This host.
    pub(super) fn here() -> Self {
        let ids = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
        let machine = ids.iter().find_map(|path| machine(&std::fs::read_to_string(path).ok()?));
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        Self { machine, name: if name.is_empty() { "unknown" } else { name }.to_owned() }
    }
}

/// The hash of a machine id; `None` for the words that stand in the file before it is known.
fn machine(text: &str) -> Option<String> {
    let id = text.trim();
    let known = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    known.then(|| ContentHash(Sha256::digest(format!("casedrop {id}")).into()).to_string())
}

/// Whether the journal may be written on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Only on the one it belongs to.
    Own,
    /// A person says that it belongs here from now on.
    TakeOver,
}

/// Makes sure that the journal belongs to `host`, and records that where it belongs to none yet.
pub(super) fn check(conn: &Connection, path: &Path, host: &Host, claim: Claim) -> Result<(), JournalError> {
    let told = |error| JournalError::sqlite(path, &error);
    #[cfg(test)]
    super::view::fail(conn).map_err(told)?;
    let known: Option<(Option<String>, String, UnixMillis)> = conn
        .query_row("SELECT machine, name, since FROM host", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()
        .map_err(told)?;
    if let Some((machine, name, since)) = &known {
        if claim == Claim::Own && machine.is_some() && *machine != host.machine {
            return Err(JournalError::OtherHost {
                path: path.to_owned(),
                known: name.clone(),
                since: *since,
                found: host.name.clone(),
            });
        }
        if (machine, name) == (&host.machine, &host.name) {
            return Ok(());
        }
    }
    #[cfg(test)]
    super::view::fail(conn).map_err(told)?;
    conn.execute(
        "INSERT INTO host (id, machine, name, since) VALUES (1, ?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET machine = ?1, name = ?2, since = ?3",
        (&host.machine, &host.name, UnixMillis::now()),
    )
    .map_err(told)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(machine: Option<&str>, name: &str) -> Host {
        Host { machine: machine.map(str::to_owned), name: name.to_owned() }
    }

    #[test]
    fn a_machine_id_is_told_from_what_stands_in_its_place() {
        let id = "0123456789abcdef0123456789abcdef";
        let hash = machine(&format!("{id}\n")).unwrap();
        assert!(hash.len() == 64 && !hash.contains(id), "only a hash is kept");
        for text in ["", "uninitialized\n", "0123456789abcdef", "0123456789abcdef0123456789abcdeg"] {
            assert_eq!(machine(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_journal_stays_with_its_host_until_a_person_moves_it() {
        let conn = super::super::open::in_memory().unwrap();
        let path = Path::new("/j");
        let (a, b, none) = (host(Some("A"), "alpha"), host(Some("B"), "beta"), host(None, "alpha"));
        // Known to none, then to one that cannot be told, then to A under any name.
        for here in [&none, &a, &host(Some("A"), "renamed"), &a] {
            check(&conn, path, here, Claim::Own).unwrap();
        }
        for other in [&b, &none] {
            let refused = check(&conn, path, other, Claim::Own).unwrap_err();
            assert!(matches!(&refused, JournalError::OtherHost { known, .. } if known == "alpha"), "{refused:?}");
            assert!(refused.to_string().contains("casedrop release --host"), "{refused}");
        }
        check(&conn, path, &b, Claim::TakeOver).unwrap();
        check(&conn, path, &b, Claim::Own).unwrap();
        assert!(check(&conn, path, &a, Claim::Own).is_err());
    }
}
