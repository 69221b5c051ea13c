//! The outbox of the hooks: questions and changes.

use super::error::JournalError;
use super::tx::Tx;
use super::view::View;
use crate::core::model::MirrorId;
use crate::types::{RelPath, UnixMillis};

/// Deliveries that were given up and are kept for the views.
const KEPT: i64 = 1000;

/// A delivery that the hook has not taken yet; [`View::hook_payload`] has what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookDelivery {
    /// Number of its event: the order of deliveries.
    pub event: i64,
    /// The same at every try.
    pub delivery: String,
    pub mirror: MirrorId,
    /// `None`: it is about the mirror.
    pub path: Option<RelPath>,
    pub kind: String,
    pub tries: u32,
    pub next_attempt: UnixMillis,
    pub last_error: Option<String>,
}

/// How the hooks are doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookState {
    /// Deliveries not taken yet.
    pub waiting: u64,
    /// Of these, tried at least once.
    pub failing: u64,
    /// Given up; the last thousand are kept.
    pub given_up: u64,
    /// What the newest failure said.
    pub last_error: Option<String>,
}

impl View {
    /// The number of the last event that was looked at; `None` while hooks are off.
    pub fn hook_cursor(&self) -> Result<Option<i64>, JournalError> {
        self.one("SELECT cursor FROM hook WHERE id = 1", [], |row| row.get(0))
    }

    /// Deliveries to be made, in the order of their events.
    pub fn hook_deliveries(&self) -> Result<Vec<HookDelivery>, JournalError> {
        self.many(
            "SELECT event, delivery, mirror, path, kind, tries, next_attempt, last_error
             FROM hook_delivery INDEXED BY hook_open WHERE gave_up_at IS NULL ORDER BY event",
            [],
            |row| {
                Ok(HookDelivery {
                    event: row.get(0)?,
                    delivery: row.get(1)?,
                    mirror: row.get(2)?,
                    path: row.get(3)?,
                    kind: row.get(4)?,
                    tries: row.get(5)?,
                    next_attempt: row.get(6)?,
                    last_error: row.get(7)?,
                })
            },
        )
    }

    /// What the hook is told.
    pub fn hook_payload(&self, event: i64) -> Result<Option<String>, JournalError> {
        self.one("SELECT payload FROM hook_delivery WHERE event = ?1", [event], |row| row.get(0))
    }

    /// How the hooks are doing; `None` while they are off and nothing is left of them.
    pub fn hook_state(&self) -> Result<Option<HookState>, JournalError> {
        let open = self.hook_deliveries()?;
        let (given_up, last): (u64, Option<String>) = self.total(
            "SELECT count(*), (SELECT last_error FROM hook_delivery INDEXED BY hook_given_up
                 WHERE gave_up_at IS NOT NULL ORDER BY event DESC LIMIT 1)
             FROM hook_delivery INDEXED BY hook_given_up WHERE gave_up_at IS NOT NULL",
            [],
            |row| Ok((super::rows::count(row, 0)?, row.get(1)?)),
        )?;
        if open.is_empty() && given_up == 0 && self.hook_cursor()?.is_none() {
            return Ok(None);
        }
        let failing = open.iter().filter(|delivery| delivery.tries > 0).count() as u64;
        let last_error = open.iter().rev().find_map(|delivery| delivery.last_error.clone()).or(last);
        Ok(Some(HookState { waiting: open.len() as u64, failing, given_up, last_error }))
    }
}

impl Tx<'_> {
    /// Events up to this one have been looked at.
    pub fn set_hook_cursor(&self, cursor: i64) -> Result<(), JournalError> {
        self.change("INSERT INTO hook (id, cursor) VALUES (1, ?1) ON CONFLICT DO UPDATE SET cursor = ?1", [cursor])
            .map(drop)
    }

    /// Adds a delivery. One for the same event stays as it is.
    pub fn add_hook_delivery(&self, delivery: &HookDelivery, payload: &str) -> Result<(), JournalError> {
        self.change(
            "INSERT INTO hook_delivery (event, delivery, mirror, path, kind, payload, next_attempt)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            (
                delivery.event,
                &delivery.delivery,
                delivery.mirror,
                &delivery.path,
                &delivery.kind,
                payload,
                delivery.next_attempt,
            ),
        )
        .map(drop)
    }

    /// The hook has taken it.
    pub fn hook_done(&self, event: i64) -> Result<(), JournalError> {
        self.change("DELETE FROM hook_delivery WHERE event = ?1", [event]).map(drop)
    }

    /// A try failed; the next one is at `next`, `None`: it is given up.
    pub fn hook_failed(
        &self,
        event: i64,
        tries: u32,
        next: Option<UnixMillis>,
        error: &str,
        now: UnixMillis,
    ) -> Result<(), JournalError> {
        let gave_up = if next.is_none() { Some(now) } else { None };
        self.change(
            "UPDATE hook_delivery SET tries = ?2, next_attempt = coalesce(?3, next_attempt), last_error = ?4,
                 gave_up_at = ?5 WHERE event = ?1",
            (event, tries, next, error, gave_up),
        )?;
        if gave_up.is_some() {
            self.change(
                "DELETE FROM hook_delivery WHERE gave_up_at IS NOT NULL AND event <= (
                     SELECT event FROM hook_delivery INDEXED BY hook_given_up WHERE gave_up_at IS NOT NULL
                     ORDER BY event DESC LIMIT 1 OFFSET ?1)",
                [KEPT],
            )?;
        }
        Ok(())
    }

    /// Hooks are off: nothing is told any more, and what happens meanwhile is not told later. Returns how many
    /// deliveries were dropped.
    pub fn hooks_off(&self) -> Result<usize, JournalError> {
        self.change("DELETE FROM hook", [])?;
        self.change("DELETE FROM hook_delivery", [])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::support::*;
    use super::*;
    use crate::core::model::EventKind;

    #[test]
    fn the_outbox_keeps_its_order_and_what_was_given_up() {
        let dir = folder();
        let (journal, mirror) = with_mirror(&db(&dir));
        journal
            .write_blocking(move |tx| {
                assert_eq!((tx.hook_cursor()?, tx.hook_state()?), (None, None));
                tx.set_hook_cursor(0)?;
                for n in 0..4 {
                    let event = event(tx, mirror, "a", EventKind::Attached, n)?;
                    let delivery = HookDelivery {
                        event,
                        delivery: format!("d{n}"),
                        mirror,
                        path: Some(path("a")),
                        kind: "attached".into(),
                        tries: 0,
                        next_attempt: at(n),
                        last_error: None,
                    };
                    tx.add_hook_delivery(&delivery, "{}")?;
                    // Looked at again after a kill: the first one counts.
                    tx.add_hook_delivery(&HookDelivery { delivery: format!("again{n}"), ..delivery }, "{\"x\":1}")?;
                    tx.set_hook_cursor(event)?;
                }
                let open = |tx: &Tx<'_>| -> Result<Vec<String>, JournalError> {
                    Ok(tx.hook_deliveries()?.into_iter().map(|d| format!("{} {}", d.delivery, d.tries)).collect())
                };
                assert_eq!(open(tx)?, ["d0 0", "d1 0", "d2 0", "d3 0"]);
                assert_eq!(tx.hook_payload(1)?.as_deref(), Some("{}"));
                tx.hook_done(1)?;
                tx.hook_failed(2, 1, Some(at(50)), "exit 1", at(9))?;
                tx.hook_failed(3, 16, None, "exit 2", at(9))?;
                assert_eq!(open(tx)?, ["d1 1", "d3 0"]);
                let state = HookState { waiting: 2, failing: 1, given_up: 1, last_error: Some("exit 1".into()) };
                assert_eq!(tx.hook_state()?, Some(state));
                tx.hook_done(2)?;
                assert_eq!(tx.hook_state()?.and_then(|state| state.last_error).as_deref(), Some("exit 2"));
                assert_eq!(tx.hook_cursor()?, Some(4));
                assert_eq!(tx.hooks_off()?, 2);
                assert_eq!((tx.hook_cursor()?, tx.hook_state()?), (None, None));
                Ok(())
            })
            .unwrap();
        journal.close();
    }

    #[test]
    fn a_thousand_that_were_given_up_are_kept() {
        let dir = folder();
        let (journal, mirror) = with_mirror(&db(&dir));
        journal
            .write_blocking(move |tx| {
                for n in 0..1010 {
                    let event = event(tx, mirror, "a", EventKind::Attached, n)?;
                    let delivery = HookDelivery {
                        event,
                        delivery: format!("d{n}"),
                        mirror,
                        path: None,
                        kind: "held".into(),
                        tries: 0,
                        next_attempt: at(n),
                        last_error: None,
                    };
                    tx.add_hook_delivery(&delivery, "{}")?;
                    tx.hook_failed(event, 16, None, "no", at(n))?;
                }
                assert_eq!(tx.hook_state()?.map(|state| state.given_up), Some(1000));
                assert_eq!((tx.hook_payload(10)?, tx.hook_payload(11)?), (None, Some("{}".into())));
                Ok(())
            })
            .unwrap();
        journal.close();
    }
}
