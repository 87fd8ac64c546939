//! DEL and GC: ports go, and what is gone already is fine.

use admin::Client;

use crate::attach::{PATIENCE, remove_link, undo};
use crate::call::{Config, Target};
use crate::failure::{Failure, code};
use crate::record::Record;

/// Detaches a pod's interface.
///
/// # Errors
/// What the dataplane or the kernel refused; the runtime tries again.
pub fn del(config: &Config, target: &Target) -> Result<(), Failure> {
    let port = target.port();
    let record = Record::open(&config.state_dir, &port)?;
    match record.owner() {
        // The pod lives on in a newer container, which owns the port now.
        Some(owner) if owner.container != target.container => Ok(()),
        Some(_) => {
            take(config, &port)?;
            record.remove()
        }
        None => {
            // No record (a reboot, or never attached): nothing of ours can be there, except what a
            // lost state directory left. A dataplane that is away has no port either.
            match take(config, &port) {
                Err(e) if e.code != code::TRY_AGAIN_LATER => Err(e),
                _ => record.remove(),
            }
        }
    }
}

/// Removes every attachment of this network that the runtime does not list as valid.
///
/// # Errors
/// The first that could not be removed, after trying all.
pub fn gc(config: &Config) -> Result<(), Failure> {
    let valid = config
        .valid_attachments
        .as_ref()
        .ok_or_else(|| Failure::new(code::INVALID_CONFIG, "cni.dev/valid-attachments: missing"))?;
    let mut first = Ok(());
    for port in Record::ports(&config.state_dir)? {
        let swept = Record::open(&config.state_dir, &port).and_then(|record| {
            let keep = record.owner().is_some_and(|o| {
                let attachment = (o.container.clone(), o.interface.clone());
                o.network != config.name || valid.contains(&attachment)
            });
            if keep {
                return Ok(());
            }
            take(config, &port)?;
            record.remove()
        });
        first = first.and(swept);
    }
    first
}

fn take(config: &Config, port: &str) -> Result<(), Failure> {
    match Client::connect(&config.admin_socket, PATIENCE) {
        Ok(mut dataplane) => undo(port, &mut dataplane),
        // No dataplane, no port; of a veth pair the kernel still has both ends.
        Err(admin::Error::Connect { .. }) => remove_link(port),
        Err(e) => Err(e.into()),
    }
}
