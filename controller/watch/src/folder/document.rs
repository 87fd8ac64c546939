//! A file's text to trees of values, one for each object, so that one that is broken leaves the
//! others whole.

use serde_json::Value;

/// One object's tree, or why there is none.
#[derive(Debug)]
pub(super) struct Document {
    /// Where it begins, from 1.
    pub(super) line: u64,
    pub(super) content: Result<Value, SyntaxError>,
}

/// Text that is neither YAML nor JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// In the file, from 1.
    pub(super) line: u64,
    pub(super) message: String,
}

/// Every object of a YAML file: documents divided by `---`, lists taken apart.
pub(super) fn yaml(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    for (line, part) in split(text) {
        let first = part.lines().take_while(|line| is_blank(line)).count() as u64;
        let content = parse_yaml(part).map_err(|(at, message)| SyntaxError {
            line: line + at.saturating_sub(1),
            message,
        });
        match content {
            // Nothing but comments, or nothing at all.
            Ok(Value::Null) => {}
            Ok(value) => take_apart(value, line + first, &mut documents),
            Err(error) => documents.push(Document {
                line,
                content: Err(error),
            }),
        }
    }
    documents
}

/// A line of no content: empty, a comment, or a document's marker.
fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#') || line == "---" || line == "..."
}

/// Every object of a JSON file: values one after another, lists taken apart.
pub(super) fn json(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    loop {
        let line = line_of(text, values.byte_offset());
        match values.next() {
            None => break,
            Some(Ok(Value::Null)) => {}
            Some(Ok(value)) => take_apart(value, line, &mut documents),
            Some(Err(error)) => {
                let error = SyntaxError {
                    line: error.line() as u64,
                    message: without_place(&error.to_string()),
                };
                documents.push(Document {
                    line,
                    content: Err(error),
                });
                break;
            }
        }
    }
    documents
}

/// The line on which what comes after `offset` begins.
fn line_of(text: &str, offset: usize) -> u64 {
    let (before, after) = text.split_at_checked(offset).unwrap_or((text, ""));
    let blank = after.len() - after.trim_start().len();
    let newlines = |part: &str| part.bytes().filter(|b| *b == b'\n').count() as u64;
    1 + newlines(before) + newlines(&after[..blank])
}

/// Divides at lines that begin with `---`, as YAML 1.2 (9.1.4, 9.2) has it: there such a line can
/// be nothing else, not even inside a block of text.
fn split(text: &str) -> Vec<(u64, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let number = index as u64 + 1;
        let is_marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if is_marker && offset > start {
            parts.push((start_line, &text[start..offset]));
        }
        if is_marker {
            start = offset;
            start_line = number;
        }
        offset += line.len();
    }
    parts.push((start_line, &text[start..]));
    parts
}

/// The value, or the line within the part and what is wrong there.
fn parse_yaml(text: &str) -> Result<Value, (u64, String)> {
    if text.lines().all(is_blank) {
        return Ok(Value::Null);
    }
    let options = serde_saphyr::options! {
        with_snippet: false,
        // kubectl reads `defaultMode: 0644` as YAML 1.1 does, and manifests count on it.
        legacy_octal_numbers: true,
        // Lists of a whole cluster are long; aliases and depth stay bounded.
        budget: serde_saphyr::budget! {
            max_events: 100_000_000,
            max_nodes: 50_000_000,
            max_total_scalar_bytes: 256 << 20,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
    };
    serde_saphyr::from_str_with_options::<Value>(text, options)
        .map(without_nulls)
        .map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            let text = error.to_string();
            let message = text.lines().next().unwrap_or_default();
            (line, without_place(message))
        })
}

/// Parsers end their messages with a line and column; ours says it its own way, and counts from
/// the top of the file.
fn without_place(message: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    message[..end].to_string()
}

/// Drops `key: null`, which in Kubernetes is the same as no key.
fn without_nulls(mut value: Value) -> Value {
    fn clean(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|_, value| !value.is_null());
                map.values_mut().for_each(clean);
            }
            Value::Array(list) => list.iter_mut().for_each(clean),
            _ => {}
        }
    }
    clean(&mut value);
    value
}

/// `kind: List`, and typed lists (`PodList`) whose items need not say what they are.
fn take_apart(value: Value, line: u64, documents: &mut Vec<Document>) {
    let value = without_nulls(value);
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let item_kind = text("kind").strip_suffix("List").map(str::to_string);
    let api_version = text("apiVersion").to_string();
    match (item_kind, value.get("items")) {
        (Some(item_kind), Some(Value::Array(items))) => {
            for item in items.clone() {
                let mut item = item;
                if let (Value::Object(fields), false) = (&mut item, item_kind.is_empty()) {
                    fields
                        .entry("kind")
                        .or_insert_with(|| Value::from(item_kind.clone()));
                    fields
                        .entry("apiVersion")
                        .or_insert_with(|| Value::from(api_version.clone()));
                }
                take_apart(item, line, documents);
            }
        }
        _ => documents.push(Document {
            line,
            content: Ok(value),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(documents: &[Document]) -> Vec<(u64, String)> {
        documents
            .iter()
            .map(|d| match &d.content {
                Ok(value) => (d.line, value["n"].to_string()),
                Err(error) => (error.line, "error".into()),
            })
            .collect()
    }

    #[test]
    fn documents_are_divided_where_yaml_divides_them() {
        let text = "# head\nn: 1\n---\nn: 2\ntext: |\n  ---\n  no marker\n--- # comment\nn: 3\n---\n# nothing\n---\n";
        assert_eq!(
            names(&yaml(text)),
            [(2, "1".into()), (4, "2".into()), (8, "3".into())]
        );
        assert_eq!(names(&yaml("---\nn: 1\n...\n")), [(2, "1".into())]);
        assert!(yaml("").is_empty() && yaml("# a\n---\n\n").is_empty());
    }

    #[test]
    fn a_broken_document_is_told_with_its_line_and_the_others_are_read() {
        let text = "n: 1\n---\nn: 2\n  bad: [\n---\nn: 3\n";
        let documents = yaml(text);
        assert_eq!(documents.len(), 3);
        let error = documents[1].content.as_ref().unwrap_err();
        assert!((3..=5).contains(&error.line), "{error:?}");
        assert!(
            !error.message.contains('\n') && !error.message.contains("line"),
            "{error:?}"
        );
        assert_eq!(documents[2].content.as_ref().unwrap()["n"], 3);
    }

    #[test]
    fn a_key_given_twice_is_an_error() {
        let documents = yaml("n: 1\nn: 2\n");
        assert!(documents[0].content.is_err());
    }

    #[test]
    fn json_values_follow_one_another_and_keep_their_lines() {
        let text = "{\"n\": 1}\n\n{\"n\":\n 2}\n{\"n\": ";
        assert_eq!(
            names(&json(text)),
            [(1, "1".into()), (3, "2".into()), (5, "error".into())]
        );
    }

    #[test]
    fn lists_are_taken_apart_and_typed_ones_lend_their_kind() {
        let text = "kind: List\napiVersion: v1\nitems:\n- {n: 1, kind: A}\n- kind: BList\n  apiVersion: v7\n  items: [{n: 2}]\n";
        let documents = yaml(text);
        assert_eq!(names(&documents), [(1, "1".into()), (1, "2".into())]);
        let second = documents[1].content.as_ref().unwrap();
        assert_eq!(
            (&second["kind"], &second["apiVersion"]),
            (&"B".into(), &"v7".into())
        );
    }

    #[test]
    fn a_null_is_as_if_the_key_were_not_there() {
        let documents = yaml("n: 1\nlist: ~\nempty:\nitems: [{a: null}]\n");
        let value = documents[0].content.as_ref().unwrap();
        assert_eq!(*value, serde_json::json!({"n": 1, "items": [{}]}));
    }

    #[test]
    fn quoted_numbers_stay_texts() {
        let documents = yaml("a: \"50\"\nb: 50\nc: 'true'\nd: 0x10\n");
        let value = documents[0].content.as_ref().unwrap();
        assert_eq!(value["a"], "50");
        assert_eq!(value["b"], 50);
        assert_eq!(value["c"], "true");
    }

    #[test]
    fn a_list_of_a_whole_cluster_is_read_and_a_bomb_is_not() {
        let long = format!("n: [{}0]", "0, ".repeat(260_000));
        let documents = yaml(&long);
        let list = documents[0]
            .content
            .as_ref()
            .map(|v| v["n"].as_array().map(Vec::len));
        assert_eq!(list, Ok(Some(260_001)));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_string();
        for level in 1..10 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        assert!(yaml(&bomb)[0].content.is_err());
        let deep = "[".repeat(100_000);
        assert!(yaml(&deep)[0].content.is_err());
        assert!(json(&deep)[0].content.is_err());
    }

    #[test]
    fn scalars_are_read_as_kubectl_reads_them() {
        let text = "a: 0644\nb: 0.5\nc: 1e3\nd: yes\ne: 2026-01-02T03:04:05Z\nf: 10.0.0.1\ng: 0o17\nh: 02:00:00:00:00:01";
        let documents = yaml(text);
        let value = documents[0].content.as_ref().unwrap();
        assert_eq!(value["a"], 0o644);
        assert_eq!(value["b"], 0.5);
        assert_eq!(value["c"], 1000.0);
        assert_eq!(value["d"], true);
        assert_eq!(value["e"], "2026-01-02T03:04:05Z");
        assert_eq!(value["f"], "10.0.0.1");
        assert_eq!(value["g"], 0o17);
        assert_eq!(value["h"], "02:00:00:00:00:01");
    }
}
