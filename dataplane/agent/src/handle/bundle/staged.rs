//! Messages of a bundle, as they came: one after the other, and nothing else.

use openflow::wire::Header;

/// Whole messages with their headers.
#[derive(Debug, Default)]
pub(super) struct Staged(Vec<u8>);

impl Staged {
    /// Adds one.
    pub(super) fn push(&mut self, frame: &[u8]) {
        self.0.extend_from_slice(frame);
    }

    /// Their bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Each with its transaction number.
    pub(super) fn frames(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let header = Header::read(rest)?;
            let (frame, behind) = rest.split_at_checked(header.length.into())?;
            rest = behind;
            Some((header.xid, frame))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in() {
        let mut staged = Staged::default();
        staged.push(&[4, 20, 0, 8, 0, 0, 0, 7]);
        staged.push(&[4, 2, 0, 10, 0, 0, 0, 8, 1, 2]);
        let frames: Vec<(u32, usize)> = staged.frames().map(|(x, f)| (x, f.len())).collect();
        assert_eq!(frames, [(7, 8), (8, 10)]);
        assert_eq!(staged.len(), 18);
    }
}
