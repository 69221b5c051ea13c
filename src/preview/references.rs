//! The look-ups that a pass would make, for `plan`: asked, and written nowhere.

use std::collections::HashMap;
use std::ops::ControlFlow;

use crate::config::Config;
use crate::core::model::MirrorId;
use crate::core::reference::{CaseRef, RefState, Reference, batches};
use crate::fatal::Fatal;
use crate::journal::{JournalError, Reader};
use crate::observe;
use crate::resolve::{ask_fields, look_up};
use crate::scan::{self, Depth, Entry};
use crate::types::{RelPath, UnixMillis};
use crate::world::Mirror;

/// What was looked up, by the references' keys.
pub type LookedUp = HashMap<String, CaseRef>;

/// References that files name and whose case the journal does not know.
pub fn open(mirrors: &[Mirror], reader: &Reader) -> Result<Vec<Reference>, JournalError> {
    let mut wanted: Vec<Reference> = Vec::new();
    for mirror in mirrors.iter().filter(|mirror| mirror.config.uses_references()) {
        let Ok(root) = scan::open_root(&mirror.config.path) else { continue };
        let rule = |path: &RelPath, is_dir: bool| mirror.config.scope.entry_rule(path, is_dir);
        let mut failed = None;
        // A root that cannot be listed is told by the look itself.
        let _ = root.walk(None, Depth::Tree, &rule, &mut |entry| {
            let Entry::File { path, .. } = entry else { return ControlFlow::Continue(()) };
            let (beside, _) = observe::sidecar(&root, &mirror.config, &path);
            let Some(reference) = mirror.reference_of(&path, &beside) else { return ControlFlow::Continue(()) };
            match reader.case_ref(mirror.id, &reference) {
                Ok(Some(known)) if known.state != RefState::Pending && Some(&known.domain) == mirror.domain.get() => {}
                Ok(_) if wanted.contains(&reference) => {}
                Ok(_) => wanted.push(reference),
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(wanted)
}

/// Asks for them. What cannot be asked stays pending, with the reason.
pub async fn ask(config: &Config, domain: &str, wanted: Vec<Reference>) -> Result<LookedUp, Fatal> {
    let mut looked_up = LookedUp::new();
    if wanted.is_empty() {
        return Ok(looked_up);
    }
    let now = UnixMillis::now();
    let aws = crate::run::client(config).await;
    let domain_id = domain.rsplit('/').next().unwrap_or_default();
    let fresh = |reference: &Reference| CaseRef::fresh(MirrorId(-1), reference.clone(), domain, now);
    for reference in &wanted {
        looked_up.insert(reference.key(), fresh(reference));
    }
    let asked = async {
        let fields = Box::pin(ask_fields(&aws, domain_id)).await?;
        let mut outcomes = Vec::new();
        for batch in batches(wanted, fields.id_field.as_deref()) {
            outcomes.extend(Box::pin(look_up(&aws, domain_id, &fields, batch)).await?);
        }
        Ok::<_, crate::aws::Failure>(outcomes)
    };
    match asked.await {
        Ok(outcomes) => {
            for (reference, outcome) in outcomes {
                let known = looked_up.entry(reference.key()).or_insert_with(|| fresh(&reference));
                known.learn(outcome, now);
            }
        }
        Err(failure) => looked_up.values_mut().for_each(|known| known.error = Some(failure.to_string())),
    }
    Ok(looked_up)
}
