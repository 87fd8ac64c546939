//! Parameters of a request.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use crate::status::Refusal;
use crate::store::{At, FieldValidation, parse_revision};

/// Parameters of a request, decoded.
#[derive(Debug, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text).decode_utf8_lossy().into_owned()
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.text(name), "true" | "1" | "True" | "TRUE" | "t" | "T")
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }

    pub(crate) fn dry_run(&self) -> Result<bool, Refusal> {
        match self.text("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(Refusal::bad_request(format!(
                "dryRun: Unsupported value: {other:?}: supported values: \"All\""
            ))),
        }
    }

    pub(crate) fn validation(&self) -> Result<FieldValidation, Refusal> {
        match self.text("fieldValidation") {
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Ignore" => Ok(FieldValidation::Ignore),
            "Strict" => Ok(FieldValidation::Strict),
            other => Err(Refusal::bad_request(format!(
                "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \
                 \"Strict\", \"Warn\""
            ))),
        }
    }

    /// Which state a list is to show.
    pub(crate) fn at(&self) -> Result<At, Refusal> {
        let version = self.text("resourceVersion");
        let matching = self.text("resourceVersionMatch");
        if !self.text("continue").is_empty() {
            if !version.is_empty() && version != "0" {
                return Err(Refusal::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            return Ok(At::Newest);
        }
        if version.is_empty() {
            if !matching.is_empty() {
                return Err(invalid(
                    "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless \
                     resourceVersion is provided",
                ));
            }
            return Ok(At::Newest);
        }
        let number = parse_revision(version)?;
        match matching {
            "Exact" if number == 0 => Err(invalid(
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for \
                 resourceVersion \"0\"",
            )),
            "Exact" => Ok(At::Exactly(number)),
            "NotOlderThan" | "" if number == 0 => Ok(At::Any),
            // A page of a version is of exactly that version.
            "" if self.number("limit").is_some_and(|limit| limit > 0) => Ok(At::Exactly(number)),
            "NotOlderThan" | "" => Ok(At::NotOlderThan(number)),
            other => Err(invalid(&format!(
                "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \
                 \"NotOlderThan\""
            ))),
        }
    }
}

pub(crate) fn invalid(why: &str) -> Refusal {
    Refusal::new(
        422,
        "Invalid",
        format!("ListOptions.meta.k8s.io \"\" is invalid: {why}"),
    )
}
