//! Which fields of a manifest nobody read: those that are missing when the typed object is written
//! again.

use serde_json::Value;

use super::typed::join;

/// Every field of `given` that asks for something and is not in `known`, with its path.
pub(super) fn fields<'a>(given: &'a Value, known: &Value) -> Vec<(String, &'a Value)> {
    let mut unknown = Vec::new();
    compare(given, known, &mut String::new(), &mut unknown);
    unknown
}

fn compare<'a>(
    given: &'a Value,
    known: &Value,
    path: &mut String,
    unknown: &mut Vec<(String, &'a Value)>,
) {
    let length = path.len();
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given {
                join(path, key);
                match known.get(key) {
                    Some(known) => compare(value, known, path, unknown),
                    None if asks_for_nothing(value) => {}
                    None => unknown.push((path.clone(), value)),
                }
                path.truncate(length);
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                *path += &format!("[{index}]");
                compare(given, known, path, unknown);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Absent, empty, off: as if the field were not there.
fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(asks_for_nothing),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_given_and_is_not_known_is_found_at_any_depth() {
        let given = json!({
            "spec": {
                "cidrBlock": "a", "gatewayTpye": "b", "private": false, "acls": [],
                "list": [{"x": 1}, {"x": 1, "y": 2}],
            },
            "a.b/c": 1,
        });
        let known = json!({"spec": {"cidrBlock": "a", "list": [{"x": 1}, {"x": 1}]}});
        let mut found: Vec<_> = fields(&given, &known).into_iter().map(|(f, _)| f).collect();
        found.sort();
        assert_eq!(found, ["[a.b/c]", "spec.gatewayTpye", "spec.list[1].y"]);
        assert_eq!(fields(&given, &given), []);
    }
}
