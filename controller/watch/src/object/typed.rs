//! A tree of values to a Rust type, with the path of whatever does not fit.

use cluster::{ObjectRef, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::{FieldError, unknown};

/// What to do about a field that nobody knows.
pub(super) const UNKNOWN_REMEDY: &str =
    "remove it, or correct the field's name if another was meant";

/// Reads a value as `T`, and reports every field that `T` does not know.
///
/// `neutral` says of a field that is not known, by path and value, that it asks for nothing.
pub(super) fn read<T: DeserializeOwned + Serialize>(
    value: &Value,
    id: &ObjectRef,
    neutral: impl Fn(&str, &Value) -> bool,
    problems: &mut Vec<Problem>,
) -> Result<T, FieldError> {
    let typed: T = serde_path_to_error::deserialize(value).map_err(|error| {
        let field = path(error.path());
        FieldError::new(field, error.inner().to_string())
    })?;
    // What was read and is not written again was not known. That costs one pass more for each
    // object read, and needs no list of fields that could be wrong.
    let Ok(known) = serde_json::to_value(&typed) else {
        return Ok(typed);
    };
    for (field, value) in unknown::fields(value, &known) {
        if !neutral(&field, value) {
            problems.push(Problem::ignored(
                id.clone(),
                field,
                format!("{} is not supported and has no effect", shortened(value)),
                UNKNOWN_REMEDY,
            ));
        }
    }
    Ok(typed)
}

/// As kubectl writes it: `spec.ports[0].port`, `metadata.annotations[a.b/c]`.
fn path(path: &serde_path_to_error::Path) -> String {
    let mut text = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => text += &format!("[{index}]"),
            Segment::Map { key } | Segment::Enum { variant: key } => join(&mut text, key),
            Segment::Unknown => {}
        }
    }
    text
}

/// Appends a key to a path.
pub(super) fn join(path: &mut String, key: &str) {
    if key.contains(['.', '/']) {
        *path += &format!("[{key}]");
    } else {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
    }
}

fn shortened(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}
