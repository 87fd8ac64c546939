//! The `sample` action (NXAST_SAMPLE and its later, longer forms).

use net::PortNo;

use super::actions::{begin_nicira, end_nicira};
use super::nicira::{narrow_port, pack, subtype, unpack, wide_port};
use super::{EncodeError, Reader, Writer, oxm};
use crate::Action;
use crate::action::{Sample, SampleDirection, SampleId};
use crate::error::{self, OfError};

/// Reads what stands behind the subtype.
pub(super) fn read(mut r: Reader<'_>, form: u16) -> Result<Action, OfError> {
    let (probability, collector_set) = (r.u16()?, r.u32()?);
    let (obs_domain, obs_point) = if form == subtype::SAMPLE4 {
        (read_id(&mut r)?, read_id(&mut r)?)
    } else {
        (SampleId::Number(r.u32()?), SampleId::Number(r.u32()?))
    };
    let mut sample = Sample {
        probability,
        collector_set,
        obs_domain,
        obs_point,
        port: None,
        direction: None,
    };
    if form != subtype::SAMPLE {
        sample.port = Some(wide_port(r.u16()?)).filter(|port| *port != PortNo::ANY);
        let direction = r.u8()?;
        // The second form had padding here.
        sample.direction = match direction {
            _ if form == subtype::SAMPLE2 => None,
            0 => None,
            1 => Some(SampleDirection::Ingress),
            2 => Some(SampleDirection::Egress),
            _ => return Err(error::OFPBAC_BAD_ARGUMENT),
        };
        match form {
            subtype::SAMPLE2 => r.skip(5)?,
            _ => r.zeros(5, error::OFPBAC_BAD_ARGUMENT)?,
        }
    }
    r.end()?;
    if probability == 0 {
        return Err(error::OFPBAC_BAD_ARGUMENT);
    }
    Ok(Action::Sample(sample))
}

/// Writes the shortest form that says it all.
pub(super) fn write(w: &mut Writer<'_>, sample: &Sample) -> Result<(), EncodeError> {
    let from_field = [sample.obs_domain, sample.obs_point]
        .iter()
        .any(|id| matches!(id, SampleId::Field(_)));
    let form = match sample {
        _ if from_field => subtype::SAMPLE4,
        Sample {
            direction: Some(_), ..
        } => subtype::SAMPLE3,
        Sample { port: Some(_), .. } => subtype::SAMPLE2,
        _ => subtype::SAMPLE,
    };
    let start = begin_nicira(w, form);
    w.u16(sample.probability);
    w.u32(sample.collector_set);
    for id in [sample.obs_domain, sample.obs_point] {
        match id {
            SampleId::Number(number) => {
                if form == subtype::SAMPLE4 {
                    w.u32(0);
                }
                w.u32(number);
            }
            SampleId::Field(range) => {
                if oxm::has_long_name(range.field, w.version) {
                    return w.unsupported("that field as an argument of sample");
                }
                oxm::write_name(w, range.field);
                w.u16(pack(range)?);
                w.zeros(2);
            }
        }
    }
    if form != subtype::SAMPLE {
        w.u16(narrow_port(sample.port.unwrap_or(PortNo::ANY))?);
        w.u8(match sample.direction {
            None => 0,
            Some(SampleDirection::Ingress) => 1,
            Some(SampleDirection::Egress) => 2,
        });
        w.zeros(5);
    }
    end_nicira(w, start)
}

/// A field and its bits, or four zeros and a number.
fn read_id(r: &mut Reader<'_>) -> Result<SampleId, OfError> {
    let source = r.sub(4)?;
    if source.rest() == [0; 4] {
        return Ok(SampleId::Number(r.u32()?));
    }
    let packed = r.u16()?;
    r.skip(2)?;
    let range = unpack(oxm::read_name(&mut { source })?, packed)?;
    match range.bits {
        ..=32 => Ok(SampleId::Field(range)),
        _ => Err(error::OFPBAC_BAD_ARGUMENT),
    }
}

#[cfg(test)]
mod tests {
    use super::super::actions::{read_actions, write_actions};
    use super::*;
    use crate::text::{self, Names};
    use crate::{Match, Version};

    #[test]
    fn every_form_is_read_as_it_was_written() {
        let cases = [
            (
                "sample(probability=1,collector_set_id=2,obs_domain_id=3,obs_point_id=4)",
                24,
            ),
            (
                "sample(probability=1,collector_set_id=2,obs_domain_id=3,obs_point_id=4,sampling_port=5)",
                32,
            ),
            (
                "sample(probability=1,collector_set_id=2,obs_domain_id=3,obs_point_id=4,egress)",
                32,
            ),
            (
                "sample(probability=1,collector_set_id=2,obs_domain_id=NXM_NX_REG0[],obs_point_id=NXM_NX_REG1[4..7],ingress)",
                40,
            ),
        ];
        for (line, length) in cases {
            let actions = text::parse_actions(line, &Match::any(), Names::NONE).expect("parses");
            let mut bytes = Vec::new();
            let mut w = Writer {
                out: &mut bytes,
                version: Version::V1_3,
                describes: false,
            };
            write_actions(&mut w, &actions).expect("can be written");
            assert_eq!(bytes.len(), length, "{line}");
            let read = |bytes: &[u8]| {
                let short = error::OFPBAC_BAD_LEN;
                read_actions(Reader::new(Version::V1_3, bytes, short))
            };
            assert_eq!(read(&bytes).as_ref(), Ok(&actions));
            assert_eq!(
                actions.iter().map(Action::to_string).collect::<String>(),
                line
            );
            // A probability of zero samples nothing.
            bytes[10..12].fill(0);
            assert_eq!(read(&bytes), Err(error::OFPBAC_BAD_ARGUMENT));
        }
    }
}
