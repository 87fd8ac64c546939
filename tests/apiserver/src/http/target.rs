//! What a path names.

use percent_encoding::percent_decode_str;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Neither a collection nor an object.
    Path(Vec<String>),
    Resource {
        group: String,
        version: String,
        plural: String,
        /// Empty for all, and for cluster-wide ones.
        namespace: String,
        /// Empty for a collection.
        name: String,
        subresource: String,
    },
}

impl Target {
    /// Reads a path as the API concepts lay it out.
    pub(crate) fn parse(path: &str) -> Self {
        let parts: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match words.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Target::Path(parts),
        };
        let (namespace, rest) = match rest {
            [] => return Target::Path(parts),
            // The namespace itself, and its subresources.
            ["namespaces"] | ["namespaces", _] => ("", rest),
            ["namespaces", _, "status" | "finalize"] => ("", rest),
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            rest => ("", rest),
        };
        let [plural, rest @ ..] = rest else {
            return Target::Path(parts);
        };
        let (name, subresource) = match rest {
            [] => ("", ""),
            [name] => (*name, ""),
            [name, subresource] => (*name, *subresource),
            _ => return Target::Path(parts),
        };
        Target::Resource {
            group: group.into(),
            version: version.into(),
            plural: (*plural).into(),
            namespace: namespace.into(),
            name: name.into(),
            subresource: subresource.into(),
        }
    }
}
