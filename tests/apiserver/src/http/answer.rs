//! Answers, and how objects stand in them.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::Value;

use crate::resource::Resource;
use crate::status::Refusal;
use crate::store::Page;

/// A body that may break off.
pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// What a client is sent.
pub(crate) type Answer = Response<Body>;

pub(crate) fn json<T: Serialize>(code: u16, value: &T) -> Answer {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    let mut answer = Response::new(whole(bytes));
    *answer.status_mut() =
        hyper::StatusCode::from_u16(code).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

pub(crate) fn text(text: &str) -> Answer {
    Response::new(whole(text.as_bytes().to_vec()))
}

pub(crate) fn refusal(refusal: &Refusal) -> Answer {
    let mut answer = json(refusal.code, &refusal.to_status());
    if let Some(seconds) = refusal.retry_after() {
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// Adds what is to be told to the person at the client (RFC 7234, 5.5).
pub(crate) fn warn(answer: &mut Answer, warnings: &[String]) {
    for warning in warnings {
        let text = format!("299 - {}", serde_json::Value::from(warning.as_str()));
        if let Ok(value) = HeaderValue::from_str(&text) {
            answer.headers_mut().append(WARNING, value);
        }
    }
}

fn whole(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes))
        .map_err(|never| match never {})
        .boxed()
}

/// In what form the client wants objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    /// `PartialObjectMetadata`.
    Metadata,
}

impl Form {
    pub(crate) fn of(accept: &str) -> Self {
        // The first form that is served; tables are not.
        for media in accept.split(',') {
            if media.contains("as=PartialObjectMetadata") {
                return Form::Metadata;
            }
            if media.trim() == "application/json" {
                return Form::Whole;
            }
        }
        Form::Whole
    }

    pub(crate) fn of_object(self, object: &Arc<Value>) -> Arc<Value> {
        match self {
            Form::Whole => object.clone(),
            Form::Metadata => Arc::new(serde_json::json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"],
            })),
        }
    }
}

/// A list, serialised without copying its objects.
pub(crate) struct List<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) page: &'a Page,
    pub(crate) form: Form,
}

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.form {
            Form::Whole => {
                map.serialize_entry("kind", &format!("{}List", self.resource.kind))?;
                map.serialize_entry("apiVersion", &self.resource.api_version())?;
            }
            Form::Metadata => {
                map.serialize_entry("kind", "PartialObjectMetadataList")?;
                map.serialize_entry("apiVersion", "meta.k8s.io/v1")?;
            }
        }
        let mut metadata = serde_json::json!({"resourceVersion": self.page.revision.to_string()});
        if let Some(token) = &self.page.continue_token {
            metadata["continue"] = token.as_str().into();
        }
        if let Some(remaining) = self.page.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        map.serialize_entry("metadata", &metadata)?;
        map.serialize_entry("items", &Items(self))?;
        map.end()
    }
}

struct Items<'a>(&'a List<'a>);

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let list = self.0;
        let mut seq = serializer.serialize_seq(Some(list.page.items.len()))?;
        for item in &list.page.items {
            match list.form {
                // Lists of built-in kinds do not repeat what their items are.
                Form::Whole if list.resource.custom.is_none() => {
                    seq.serialize_element(&Untyped(item))?;
                }
                form => seq.serialize_element(&*form.of_object(item))?,
            }
        }
        seq.end()
    }
}

struct Untyped<'a>(&'a Value);

impl Serialize for Untyped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.as_object().into_iter().flatten() {
            if name != "apiVersion" && name != "kind" {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}
