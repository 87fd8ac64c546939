//! The admin socket's words: what `sluicectl` and `sluice-cni` ask a dataplane, what it answers,
//! and a small blocking client.
//!
//! A unix stream carries one JSON document per line in each direction. Each request is answered by
//! one reply, in order; whatever cannot be done is answered with `{"error": "..."}` and the
//! connection stays.
//!
//! ```text
//! > {"request":"port_del","name":"web-1"}
//! < {"port_deleted":{"existed":true}}
//! > {"request":"dance"}
//! < {"error":"unknown variant `dance`, expected one of `port_add`, ..."}
//! ```
//!
//! The types are plain (strings and numbers) on purpose: the format is read by people and scripts.

mod client;
mod cores;
mod reply;
mod request;

pub use client::{Client, Error};
pub use cores::{Batches, Cache, Core, Residence, RxQueue, StageTime};
pub use reply::{
    Band, Bucket, Connection, Drop, Fdb, FdbEntry, Flow, Group, Meter, Neighbor, Port, PortStats,
    Queue, Reply, Session, Show, Table, Tracker, Tuple, Version, ZoneLimit, ZoneLimits,
};
pub use request::Request;

/// Where a dataplane listens unless told otherwise.
pub const DEFAULT_PATH: &str = "/run/sluice/admin.sock";

/// Longest request, in bytes without its line feed; a server may cut off who sends more.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Reads a request from its line, with or without the line feed.
///
/// # Errors
/// What is wrong with it, ready for [`Reply::Error`].
pub fn decode_request(line: &[u8]) -> Result<Request, String> {
    serde_json::from_slice(line).map_err(|e| format!("request not understood: {e}"))
}

/// Writes a reply as its line, line feed included.
pub fn encode_reply(reply: &Reply) -> Vec<u8> {
    line(reply).unwrap_or_else(|e| {
        let text = serde_json::Value::String(format!("reply not encodable: {e}"));
        format!("{{\"error\":{text}}}\n").into_bytes()
    })
}

fn line<T: serde::Serialize>(document: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_the_documented_one() {
        let request = decode_request(br#"{"request":"port_wait_open","name":"p","timeout_ms":5}"#);
        let wanted = Request::PortWaitOpen {
            name: "p".into(),
            timeout_ms: 5,
        };
        assert_eq!(request, Ok(wanted));
        assert_eq!(
            encode_reply(&Reply::PortDeleted { existed: true }),
            b"{\"port_deleted\":{\"existed\":true}}\n"
        );
        assert_eq!(encode_reply(&Reply::error("no")), b"{\"error\":\"no\"}\n");
        assert_eq!(encode_reply(&Reply::Done {}), b"{\"done\":{}}\n");
    }

    #[test]
    fn optional_arguments_may_be_left_out() {
        let flows = decode_request(br#"{"request":"flows"}"#);
        assert_eq!(flows, Ok(Request::Flows { filter: None }));
        let list = decode_request(br#"{"request":"ct_list"}"#);
        assert_eq!(list, Ok(Request::CtList { zone: None }));
    }

    #[test]
    fn an_unknown_request_or_key_is_named() {
        let dance = decode_request(br#"{"request":"dance"}"#).unwrap_err();
        assert!(
            dance.contains("`dance`") && dance.contains("`port_add`"),
            "{dance}"
        );
        let key = decode_request(br#"{"request":"ct_list","zone":1,"colour":2}"#).unwrap_err();
        assert!(key.contains("`colour`"), "{key}");
        assert!(decode_request(b"").is_err());
    }
}
