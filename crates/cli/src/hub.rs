//! Models of the hub, as a person sees them come.

use std::path::PathBuf;

use crate::error::CliError;
use crate::printer::Printer;

/// Where the model `name` is after its download; `name` is not an existing path.
#[cfg(feature = "hub")]
pub fn download(name: &str, revision: Option<&str>, printer: Printer) -> Result<PathBuf, CliError> {
    use llm_hub::{Hub, HubError, HubEvent, HubId};

    let Some(mut id) = HubId::parse(name) else { return Err(CliError::NoModel { name: name.to_owned() }) };
    if let Some(revision) = revision {
        id = HubId::parse(&format!("{}@{revision}", id.repository()))
            .map(|with| HubId { file: id.file.clone(), ..with })
            .ok_or_else(|| CliError::BadRevision { revision: revision.to_owned() })?;
    }
    let hub = Hub::from_env();
    let mut shown: Option<(String, indicatif::ProgressBar)> = None;
    let fetched = hub.fetch(&id, &mut |event| match event {
        HubEvent::Unreachable { reason } => {
            let reason = reason.lines().next().unwrap_or_default();
            printer.warn(format_args!("{reason}; using the cached copy"));
        }
        HubEvent::Progress { file, done, total } => {
            if shown.as_ref().is_none_or(|(name, _)| name != file) {
                if let Some((_, bar)) = shown.take() {
                    bar.finish_and_clear();
                }
                let bar = printer.bytes_bar(total);
                bar.set_message(file.to_owned());
                bar.reset_eta();
                shown = Some((file.to_owned(), bar));
            }
            if let Some((_, bar)) = &shown {
                bar.set_position(done);
            }
        }
    });
    if let Some((_, bar)) = shown {
        bar.finish_and_clear();
    }
    match fetched {
        // A path with one slash looks like a model of the hub.
        Err(error @ (HubError::NoModel { .. } | HubError::Offline { .. } | HubError::Connection { .. })) => {
            Err(CliError::NeitherPathNorHub { name: name.to_owned(), error: Box::new(error) })
        }
        other => Ok(other?),
    }
}

/// A build without the hub knows paths only.
#[cfg(not(feature = "hub"))]
pub fn download(name: &str, _: Option<&str>, _: Printer) -> Result<PathBuf, CliError> {
    Err(CliError::NoModel { name: name.to_owned() })
}
