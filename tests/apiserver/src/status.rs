//! Refusals, in the form a Kubernetes client expects: a `Status` object with reason and code.
//!
//! Reasons and messages are those of k8s.io/apimachinery `api/errors`, since clients match on them.

use serde_json::{Value, json};

/// A request that was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status code.
    pub code: u16,
    /// `metav1.StatusReason`; empty where the real server gives none.
    pub reason: String,
    /// In words.
    pub message: String,
    /// `details` of the Status, or null.
    pub details: Value,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

impl std::error::Error for Refusal {}

/// What a refusal is about: `pods "web"`, in the group's words.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) name: &'a str,
}

impl About<'_> {
    fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    fn details(&self) -> Value {
        let mut details = json!({"kind": self.resource});
        if !self.name.is_empty() {
            details["name"] = json!(self.name);
        }
        if !self.group.is_empty() {
            details["group"] = json!(self.group);
        }
        details
    }
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Refusal {
            code,
            reason: reason.into(),
            message: message.into(),
            details: Value::Null,
        }
    }

    fn about(self, about: About<'_>) -> Self {
        let details = about.details();
        Refusal { details, ..self }
    }

    /// 400: the request cannot be understood.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Refusal::new(400, "BadRequest", message)
    }

    /// 404 for an object.
    pub(crate) fn not_found(about: About<'_>) -> Self {
        let message = format!("{} \"{}\" not found", about.qualified(), about.name);
        Refusal::new(404, "NotFound", message).about(about)
    }

    /// 404 for a path that names no resource.
    pub(crate) fn no_such_resource() -> Self {
        Refusal::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    /// 405.
    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Refusal::new(405, "MethodNotAllowed", message)
    }

    /// 409: created before.
    pub(crate) fn already_exists(about: About<'_>) -> Self {
        let message = format!("{} \"{}\" already exists", about.qualified(), about.name);
        Refusal::new(409, "AlreadyExists", message).about(about)
    }

    /// 409: somebody else was faster.
    pub(crate) fn conflict(about: About<'_>, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{}\": {why}",
            about.qualified(),
            about.name
        );
        Refusal::new(409, "Conflict", message).about(about)
    }

    /// 409 of an optimistic lock.
    pub(crate) fn stale(about: About<'_>) -> Self {
        Refusal::conflict(
            about,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 403.
    pub(crate) fn forbidden(about: About<'_>, why: &str) -> Self {
        let message = if about.name.is_empty() {
            format!("{} is forbidden: {why}", about.qualified())
        } else {
            format!(
                "{} \"{}\" is forbidden: {why}",
                about.qualified(),
                about.name
            )
        };
        Refusal::new(403, "Forbidden", message).about(about)
    }

    /// 422 with one cause for each field that is wrong.
    pub(crate) fn invalid(kind: &str, about: About<'_>, errors: &[FieldError]) -> Self {
        let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let list = match list.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let called = if about.group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{}", about.group)
        };
        let message = format!("{called} \"{}\" is invalid: {list}", about.name);
        let mut refusal = Refusal::new(422, "Invalid", message).about(About {
            resource: kind,
            ..about
        });
        refusal.details["causes"] = errors
            .iter()
            .map(|e| json!({"reason": e.reason, "message": e.message, "field": e.field}))
            .collect();
        refusal
    }

    /// 410: the version asked for is compacted away.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Refusal::new(410, "Expired", message)
    }

    /// 415: a patch of this sort is not for this resource.
    pub(crate) fn unsupported_media_type(message: impl Into<String>) -> Self {
        Refusal::new(415, "UnsupportedMediaType", message)
    }

    /// The Status object.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }

    /// Seconds after which to try again, where the server says so.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.details.get("retryAfterSeconds")?.as_u64()
    }

    pub(crate) fn with_retry_after(mut self, seconds: u64) -> Self {
        if self.details.is_null() {
            self.details = json!({});
        }
        self.details["retryAfterSeconds"] = json!(seconds);
        self
    }
}

/// One field that is wrong, as `field.Error` of apimachinery prints it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FieldError {
    pub(crate) field: String,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl FieldError {
    pub(crate) fn invalid(field: impl Into<String>, value: &Value, why: impl Into<String>) -> Self {
        FieldError {
            field: field.into(),
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {}", why.into()),
        }
    }

    pub(crate) fn required(field: impl Into<String>, why: &str) -> Self {
        let message = if why.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {why}")
        };
        FieldError {
            field: field.into(),
            reason: "FieldValueRequired",
            message,
        }
    }

    pub(crate) fn unsupported(field: impl Into<String>, value: &Value, allowed: &[Value]) -> Self {
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        FieldError {
            field: field.into(),
            reason: "FieldValueNotSupported",
            message: format!(
                "Unsupported value: {value}: supported values: {}",
                allowed.join(", ")
            ),
        }
    }

    pub(crate) fn forbidden(field: impl Into<String>, why: &str) -> Self {
        FieldError {
            field: field.into(),
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {why}"),
        }
    }

    pub(crate) fn wrong_type(field: impl Into<String>, value: &Value, wanted: &str) -> Self {
        let field = field.into();
        let got = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(n) if n.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        FieldError {
            reason: "FieldValueTypeInvalid",
            message: format!(
                "Invalid value: \"{got}\": {field} in body must be of type {wanted}: \"{got}\""
            ),
            field,
        }
    }

    pub(crate) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        FieldError {
            field: field.into(),
            reason: "FieldValueDuplicate",
            message: format!("Duplicate value: {value}"),
        }
    }
}
