//! Where it stands who holds which address: in a file, or on the objects themselves.

use cluster::{Changes, ClusterView, State};

use crate::store::Store;

/// What outlives the process.
#[derive(Debug)]
pub enum Keeper {
    /// A file: the source cannot be written to.
    Disk(Store),
    /// The objects: whoever comes after us reads them there.
    Objects {
        /// They have been read.
        read: bool,
    },
}

impl Keeper {
    /// Learns what the objects say, before anything is given to anybody.
    pub fn learn(&mut self, state: &mut State, view: &ClusterView, changed: &Changes) {
        let Keeper::Objects { read } = self else {
            return;
        };
        if !std::mem::replace(read, true) {
            *state = State::from_objects(view);
        }
        state.confirm_written(view, changed);
    }

    /// Keeps the state, if that is for us to do.
    ///
    /// # Errors
    /// What the disk says.
    pub fn keep(&mut self, state: &State) -> anyhow::Result<()> {
        match self {
            Keeper::Disk(store) => store.save(state),
            // A pod is told to nobody before its address stands on it.
            Keeper::Objects { .. } => Ok(()),
        }
    }
}
