//! The connection tracker's actions.

use openflow::action::Ct;

use super::Walk;
use crate::DropReason;

/// What the tracker said of the packet last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tracked;

impl<'a> Walk<'a> {
    pub(super) fn ct(&mut self, _ct: &'a Ct) {
        self.fail(DropReason::Unsupported);
    }

    pub(super) fn ct_clear(&mut self) {
        self.tracked = None;
    }
}
