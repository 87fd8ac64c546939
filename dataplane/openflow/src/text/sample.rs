//! The `sample` action in text.

use std::fmt;

use super::actions_print::Range;
use super::arguments::parse_range;
use super::{Names, TextError, scan};
use crate::action::{Sample, SampleDirection, SampleId};

/// Parses what stands in the parentheses.
pub(super) fn parse(text: &str, names: &Names) -> Result<Sample, TextError> {
    let mut sample = Sample {
        probability: 0,
        collector_set: 0,
        obs_domain: SampleId::Number(0),
        obs_point: SampleId::Number(0),
        port: None,
        direction: None,
    };
    for item in scan::items(text) {
        let (key, argument) = scan::key_argument(item)?;
        let text = argument.unwrap_or_default();
        match key {
            "probability" => sample.probability = scan::number(key, text)?,
            "collector_set_id" => sample.collector_set = scan::number(key, text)?,
            "obs_domain_id" => sample.obs_domain = parse_id(key, text)?,
            "obs_point_id" => sample.obs_point = parse_id(key, text)?,
            "sampling_port" => sample.port = Some(names.parse_port(text)?),
            "ingress" => sample.direction = Some(SampleDirection::Ingress),
            "egress" => sample.direction = Some(SampleDirection::Egress),
            other => return Err(TextError::new(format!("sample: {other} is unknown"))),
        }
    }
    if sample.probability == 0 {
        return Err(TextError::new("sample: needs a probability of 1 to 65535"));
    }
    Ok(sample)
}

fn parse_id(key: &str, text: &str) -> Result<SampleId, TextError> {
    if let Ok(number) = scan::number(key, text) {
        return Ok(SampleId::Number(number));
    }
    let range = parse_range(text)?;
    match range.bits {
        ..=32 => Ok(SampleId::Field(range)),
        bits => Err(TextError::new(format!(
            "sample: {key} has 32 bits at most, not {bits}"
        ))),
    }
}

/// Writes the action.
pub(super) fn write(f: &mut dyn fmt::Write, sample: &Sample, names: &Names) -> fmt::Result {
    write!(
        f,
        "sample(probability={},collector_set_id={},obs_domain_id={},obs_point_id={}",
        sample.probability,
        sample.collector_set,
        Id(sample.obs_domain),
        Id(sample.obs_point)
    )?;
    if let Some(port) = sample.port {
        write!(f, ",sampling_port={}", names.port(port))?;
    }
    f.write_str(match sample.direction {
        None => ")",
        Some(SampleDirection::Ingress) => ",ingress)",
        Some(SampleDirection::Egress) => ",egress)",
    })
}

struct Id(SampleId);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SampleId::Number(number) => number.fmt(f),
            SampleId::Field(range) => Range(range).fmt(f),
        }
    }
}
