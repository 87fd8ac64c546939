//! The `learn` action in text.

use std::fmt;

use super::actions_print::Range;
use super::arguments::{arrow, parse_range, writable};
use super::value::{self, Hex};
use super::{Names, TextError, scan};
use crate::action::{
    LEARN_DELETE_LEARNED, LEARN_SEND_REMOVED, Learn, LearnSource, LearnSpec, LearnTarget,
};
use crate::model::DEFAULT_PRIORITY;
use crate::{Field, SubField};

pub(super) fn write(f: &mut dyn fmt::Write, learn: &Learn, names: &Names) -> fmt::Result {
    write!(f, "learn(table={}", names.table(learn.table))?;
    for (name, seconds) in [
        ("idle_timeout", learn.idle_timeout),
        ("hard_timeout", learn.hard_timeout),
        ("fin_idle_timeout", learn.fin_idle_timeout),
        ("fin_hard_timeout", learn.fin_hard_timeout),
    ] {
        if seconds != 0 {
            write!(f, ",{name}={seconds}")?;
        }
    }
    if learn.priority != DEFAULT_PRIORITY {
        write!(f, ",priority={}", learn.priority)?;
    }
    if learn.flags & LEARN_SEND_REMOVED != 0 {
        f.write_str(",send_flow_rem")?;
    }
    if learn.flags & LEARN_DELETE_LEARNED != 0 {
        f.write_str(",delete_learned")?;
    }
    if learn.cookie != 0 {
        write!(f, ",cookie={:#x}", learn.cookie)?;
    }
    if learn.limit != 0 {
        write!(f, ",limit={}", learn.limit)?;
    }
    if let Some(dst) = learn.result {
        write!(f, ",result_dst={}", Range(dst))?;
    }
    for spec in &learn.specs {
        f.write_char(',')?;
        write_spec(f, spec, names)?;
    }
    f.write_char(')')
}

fn write_spec(f: &mut dyn fmt::Write, spec: &LearnSpec, names: &Names) -> fmt::Result {
    match (spec.src, spec.dst) {
        (LearnSource::Field(src), LearnTarget::Match(dst)) if src == dst => {
            write!(f, "{}", Range(dst))
        }
        (LearnSource::Field(src), LearnTarget::Match(dst)) => {
            write!(f, "{}={}", Range(dst), Range(src))
        }
        (LearnSource::Field(src), LearnTarget::Load(dst)) => {
            write!(f, "load:{}->{}", Range(src), Range(dst))
        }
        (LearnSource::Field(src), LearnTarget::Output) => write!(f, "output:{}", Range(src)),
        (LearnSource::Value { value, .. }, LearnTarget::Match(dst)) => {
            if dst == SubField::whole(dst.field) {
                write!(f, "{}=", dst.field.info().name)?;
                let ones = dst.field.info().slot.ones();
                value::write(f, dst.field, value, ones, names)
            } else {
                write!(f, "{}={}", Range(dst), Hex(value))
            }
        }
        (LearnSource::Value { value, .. }, LearnTarget::Load(dst)) => {
            write!(f, "load:{}->{}", Hex(value), Range(dst))
        }
        (LearnSource::Value { value, .. }, LearnTarget::Output) => {
            write!(f, "output:{}", Hex(value))
        }
    }
}

pub(super) fn parse(text: &str, names: &Names) -> Result<Learn, TextError> {
    let mut learn = Learn {
        idle_timeout: 0,
        hard_timeout: 0,
        fin_idle_timeout: 0,
        fin_hard_timeout: 0,
        priority: DEFAULT_PRIORITY,
        cookie: 0,
        flags: 0,
        table: net::TableId(1),
        limit: 0,
        result: None,
        specs: Vec::new(),
    };
    for item in scan::items(text) {
        let (key, argument) = scan::key_argument(item)?;
        let text = argument.unwrap_or_default();
        match key {
            "table" => learn.table = names.parse_table(text)?,
            "idle_timeout" => learn.idle_timeout = scan::number(key, text)?,
            "hard_timeout" => learn.hard_timeout = scan::number(key, text)?,
            "fin_idle_timeout" => learn.fin_idle_timeout = scan::number(key, text)?,
            "fin_hard_timeout" => learn.fin_hard_timeout = scan::number(key, text)?,
            "priority" => learn.priority = scan::number(key, text)?,
            "cookie" => learn.cookie = scan::number(key, text)?,
            "limit" => learn.limit = scan::number(key, text)?,
            "send_flow_rem" => learn.flags |= LEARN_SEND_REMOVED,
            "delete_learned" => learn.flags |= LEARN_DELETE_LEARNED,
            "result_dst" => {
                let dst = writable(parse_range(text)?)?;
                if dst.bits != 1 {
                    return Err(TextError::new("learn: result_dst is one bit"));
                }
                learn.result = Some(dst);
            }
            _ => learn.specs.push(parse_spec(item, key, argument, names)?),
        }
    }
    Ok(learn)
}

fn parse_spec(
    item: &str,
    key: &str,
    argument: Option<&str>,
    names: &Names,
) -> Result<LearnSpec, TextError> {
    let text = argument.unwrap_or_default();
    match key {
        "load" => {
            let (src, dst) = arrow(text)?;
            let dst = writable(parse_range(dst)?)?;
            let dst_target = LearnTarget::Load(dst);
            if let Ok(value) = scan::integer(src) {
                return constant(item, value, dst, dst_target);
            }
            same_width(item, parse_range(src)?, dst, dst_target)
        }
        "output" => Ok(LearnSpec {
            src: LearnSource::Field(parse_range(text)?),
            dst: LearnTarget::Output,
        }),
        _ => {
            let dst = parse_range(key)?;
            let target = LearnTarget::Match(dst);
            if argument.is_none() {
                return same_width(item, dst, dst, target);
            }
            if let Ok(src) = parse_range(text)
                && Field::from_name(text.split('[').next().unwrap_or_default()).is_some()
            {
                return same_width(item, src, dst, target);
            }
            let whole = dst == SubField::whole(dst.field);
            let value = if whole {
                let (value, mask) = value::parse(dst.field, text, names)?;
                if mask != dst.field.info().slot.ones() {
                    return Err(TextError::new(format!("learn: {item}: no mask here")));
                }
                value
            } else {
                scan::integer(text)?
            };
            constant(item, value, dst, target)
        }
    }
}

fn same_width(
    item: &str,
    src: SubField,
    dst: SubField,
    target: LearnTarget,
) -> Result<LearnSpec, TextError> {
    if src.bits != dst.bits {
        return Err(TextError::new(format!(
            "learn: {item}: {} bits and {} bits",
            src.bits, dst.bits
        )));
    }
    Ok(LearnSpec {
        src: LearnSource::Field(src),
        dst: target,
    })
}

fn constant(
    item: &str,
    value: u128,
    dst: SubField,
    target: LearnTarget,
) -> Result<LearnSpec, TextError> {
    if value > dst.ones() {
        return Err(TextError::new(format!(
            "learn: {item}: the value does not fit into {} bits",
            dst.bits
        )));
    }
    Ok(LearnSpec {
        src: LearnSource::Value {
            value,
            bits: u16::from(dst.bits),
        },
        dst: target,
    })
}
