//! Definitions of our kinds that are not ours. Who comes from Kube-OVN has its own, which declare
//! fewer fields of `status`, and for Vips no subresource: an apply that names what they lack is refused
//! as a whole. The rest is written all the same.

use std::collections::BTreeSet;

use super::board::{Job, Lacking};
use super::connection::RequestError;
use super::resource::group;

/// How the server says that a schema has no such field, after the field's path.
const NOT_DECLARED: &str = ": field not declared in schema";

/// What the server lacks, if that is why it refused.
pub(super) fn lacking(job: &Job, error: &RequestError) -> Option<Lacking> {
    let object = &job.object;
    let RequestError::Refused { code, message } = error else {
        return None;
    };
    if group(object.kind) != "kubeovn.io" {
        return None;
    }
    let fields = undeclared(message);
    // The object is there, as far as we have seen: what is not is its subresource.
    let alone = job.status && !job.main && !job.lacking.subresource;
    let subresource = *code == 404 && alone && job.observed.is_some();
    if fields.is_empty() && !subresource {
        return None;
    }
    Some(Lacking {
        fields,
        subresource,
    })
}

impl std::fmt::Display for Lacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = self.fields.iter().map(|name| format!("status.{name}"));
        let apart = self.subresource.then(|| "a status apart".to_string());
        let what: Vec<String> = fields.chain(apart).collect();
        write!(
            f,
            "the server's definition of this kind is another than ours, without {}; the rest is \
             written. Apply deploy/crds, which take everything that Kube-OVN's take",
            what.join(", ")
        )
    }
}

/// The fields of `status` that a message calls undeclared.
fn undeclared(message: &str) -> BTreeSet<String> {
    let paths = message.split(NOT_DECLARED);
    let paths = paths.filter_map(|before| before.rsplit_once(".status.").map(|(_, field)| field));
    let mut fields: BTreeSet<String> = paths
        .map(|path| {
            let end = path.find(|c: char| !c.is_ascii_alphanumeric());
            path.get(..end.unwrap_or(path.len())).unwrap_or(path).into()
        })
        .collect();
    fields.remove("");
    match message.contains(NOT_DECLARED) {
        true => fields,
        false => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_undeclared_field_of_the_status_is_found() {
        let said = "failed to create typed patch object (/a; kubeovn.io/v1, Kind=Subnet): errors:\n  \
                    .status.inForce: field not declared in schema\n  \
                    .status.conditions[0].x: field not declared in schema";
        let fields = |message: &str| undeclared(message).into_iter().collect::<Vec<_>>();
        assert_eq!(fields(said), ["conditions", "inForce"]);
        assert_eq!(fields("Subnet \"a\" is invalid: .status.a"), [""; 0]);
        assert_eq!(fields(".spec.x: field not declared in schema"), [""; 0]);
    }
}
