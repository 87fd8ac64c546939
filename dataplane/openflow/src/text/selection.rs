//! How a select group chooses, in text: `selection_method=hash,fields(ip_src,ip_dst)`.

use std::fmt::{self, Write};

use super::{Names, TextError, scan, value};
use crate::model::{GroupType, Selection};
use crate::{Field, Match};

/// Writes it, with a comma in front.
pub(super) fn write(f: &mut String, selection: &Selection, names: &Names) -> fmt::Result {
    write!(f, ",selection_method={}", selection.method)?;
    if selection.param != 0 {
        write!(f, ",selection_method_param={}", selection.param)?;
    }
    let many = selection.fields.len() > 1;
    for (at, entry) in selection.fields.iter().enumerate() {
        f.push_str(match (at, many) {
            (0, true) => ",fields(",
            (0, false) => ",fields=",
            _ => ",",
        });
        f.push_str(entry.field.info().name);
        let ones = entry.field.info().slot.ones();
        if entry.mask != ones {
            f.push('=');
            value::write(f, entry.field, entry.mask, ones, names)?;
        }
    }
    if many {
        f.push(')');
    }
    Ok(())
}

/// What a group's text says of it, until all of it is read.
#[derive(Default)]
pub(super) struct Parts {
    method: Option<String>,
    param: Option<u64>,
    fields: Option<Match>,
}

impl Parts {
    /// Takes an item of a group, if it is about the selection.
    pub(super) fn take(&mut self, key: &str, text: &str, names: &Names) -> Result<bool, TextError> {
        match key {
            "selection_method" if matches!(text, "hash" | "dp_hash") => {
                self.method = Some(text.to_owned());
            }
            "selection_method" => {
                let what = format!("selection_method={text}: hash or dp_hash");
                return Err(TextError::new(what));
            }
            "selection_method_param" => self.param = Some(scan::number(key, text)?),
            "fields" => self.fields = Some(parse_fields(text, names)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The selection, for that type of group.
    pub(super) fn finish(self, kind: GroupType) -> Result<Option<Selection>, TextError> {
        let Some(method) = self.method else {
            return match (self.param, self.fields) {
                (None, None) => Ok(None),
                _ => Err(TextError::new("there is no selection_method=")),
            };
        };
        if kind != GroupType::Select {
            return Err(TextError::new("selection_method: for type=select only"));
        }
        if self.fields.is_some() && method != "hash" {
            return Err(TextError::new("fields: with selection_method=hash only"));
        }
        Ok(Some(Selection {
            method,
            param: self.param.unwrap_or(0),
            fields: self.fields.unwrap_or_default(),
        }))
    }
}

/// Fields with or without masks: `ip_src,ip_dst=255.255.255.0`.
fn parse_fields(text: &str, names: &Names) -> Result<Match, TextError> {
    let mut fields = Match::any();
    for item in scan::items(text) {
        let (name, mask) = scan::key_argument(item)?;
        let field = Field::from_name(name)
            .ok_or_else(|| TextError::new(format!("{name}: no field to hash")))?;
        let ones = field.info().slot.ones();
        let mask = match mask {
            Some(mask) => value::parse(field, mask, names)?.0,
            None => ones,
        };
        if mask == 0 {
            return Err(TextError::new(format!("{item}: a mask of zero")));
        }
        fields.set(field, mask, mask);
    }
    Ok(fields)
}
