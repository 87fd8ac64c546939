//! Multipart requests that come in several messages (OpenFlow 1.3.5, 7.3.5); of all requests,
//! only table features are long enough to need it.

use std::time::Duration;

use openflow::error::*;
use openflow::msg::{MultipartRequest, RequestBody, TableFeatures};
use tokio::time::Instant;

/// Most requests of a connection of which parts are missing.
const MOST: usize = 4;
/// Most bytes of all their parts.
const MOST_BYTES: usize = 1 << 20;
/// Time for the next part.
const NEXT: Duration = Duration::from_secs(5);

/// A connection's unfinished requests.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    xid: u32,
    features: Vec<TableFeatures>,
    bytes: usize,
    until: Instant,
    head: Vec<u8>,
}

impl Parts {
    /// Takes a part; gives the whole request once it is complete. The unfinished one is given up
    /// where an error is returned.
    ///
    /// # Errors
    /// - OFPBRC_MULTIPART_BUFFER_OVERFLOW for more than is kept, and for requests that have no
    ///   parts.
    /// - OFPBRC_BAD_MULTIPART for a part of another kind than the first.
    pub fn take(
        &mut self,
        xid: u32,
        request: MultipartRequest,
        frame: &[u8],
    ) -> Result<Option<MultipartRequest>, OfError> {
        let at = self.waiting.iter().position(|waiting| waiting.xid == xid);
        let waiting = at.map(|at| self.waiting.swap_remove(at));
        let more = match (request.body, &waiting) {
            (body, None) if !request.more => {
                return Ok(Some(MultipartRequest { more: false, body }));
            }
            (RequestBody::TableFeatures(more), _) => more,
            (_, Some(_)) => return Err(OFPBRC_BAD_MULTIPART),
            (_, None) => return Err(OFPBRC_MULTIPART_BUFFER_OVERFLOW),
        };
        let mut waiting = waiting.unwrap_or_else(|| Waiting {
            xid,
            features: Vec::new(),
            bytes: 0,
            until: Instant::now(),
            head: frame.iter().take(64).copied().collect(),
        });
        waiting.features.extend(more);
        waiting.bytes += frame.len();
        waiting.until = Instant::now() + NEXT;
        if !request.more {
            let body = RequestBody::TableFeatures(waiting.features);
            return Ok(Some(MultipartRequest { more: false, body }));
        }
        let held: usize = self.waiting.iter().map(|waiting| waiting.bytes).sum();
        if self.waiting.len() >= MOST || held + waiting.bytes > MOST_BYTES {
            return Err(OFPBRC_MULTIPART_BUFFER_OVERFLOW);
        }
        self.waiting.push(waiting);
        Ok(None)
    }

    /// When the first of them is late.
    pub fn until(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    /// Gives up those that are late: number and first bytes of each, for an error.
    pub fn late(&mut self, now: Instant) -> Vec<(u32, Vec<u8>)> {
        let (late, kept) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| waiting.until <= now);
        self.waiting = kept;
        let late: Vec<Waiting> = late;
        late.into_iter().map(|late| (late.xid, late.head)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(more: bool) -> MultipartRequest {
        let body = RequestBody::TableFeatures(Vec::new());
        MultipartRequest { more, body }
    }

    #[test]
    fn parts_become_one_request_even_interleaved() {
        let mut parts = Parts::default();
        for xid in [1, 2, 1] {
            assert_eq!(parts.take(xid, features(true), &[0; 16]), Ok(None));
        }
        let desc = MultipartRequest {
            more: false,
            body: RequestBody::Desc,
        };
        assert_eq!(parts.take(9, desc.clone(), &[0; 16]), Ok(Some(desc)));
        for xid in [1, 2] {
            let whole = parts.take(xid, features(false), &[0; 16]);
            assert_eq!(whole, Ok(Some(features(false))));
        }
        assert!(parts.until().is_none());
    }

    #[test]
    fn a_request_that_never_ends_is_given_up_and_forgotten() {
        let mut parts = Parts::default();
        let frame = vec![0; 60_000];
        let mut taken = 0;
        let error = loop {
            match parts.take(7, features(true), &frame) {
                Ok(None) => taken += frame.len(),
                other => break other,
            }
        };
        assert_eq!(error, Err(OFPBRC_MULTIPART_BUFFER_OVERFLOW));
        assert!(taken <= MOST_BYTES && parts.until().is_none());
        for xid in 0..4 {
            assert_eq!(parts.take(xid, features(true), &[0; 16]), Ok(None));
        }
        let fifth = parts.take(5, features(true), &[0; 16]);
        assert_eq!(fifth, Err(OFPBRC_MULTIPART_BUFFER_OVERFLOW));
        let late = parts.late(Instant::now() + NEXT);
        assert_eq!(late.len(), 4);
        assert!(parts.until().is_none());
    }

    #[test]
    fn requests_without_parts_have_none() {
        let mut parts = Parts::default();
        let desc = MultipartRequest {
            more: true,
            body: RequestBody::Desc,
        };
        let refused = parts.take(1, desc, &[0; 16]);
        assert_eq!(refused, Err(OFPBRC_MULTIPART_BUFFER_OVERFLOW));
        assert_eq!(parts.take(2, features(true), &[0; 16]), Ok(None));
        let other = MultipartRequest {
            more: false,
            body: RequestBody::GroupFeatures,
        };
        assert_eq!(parts.take(2, other, &[0; 16]), Err(OFPBRC_BAD_MULTIPART));
    }
}
