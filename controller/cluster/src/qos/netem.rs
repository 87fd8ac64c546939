//! Kube-OVN's annotations for test environments: what a bad line would do to packets on their way
//! to the pod. Latency and jitter are milliseconds, loss is percent, the limit is packets.

use super::Reader;
use crate::annotations;
use crate::desired::Impairment;
use crate::problem::Problem;

/// Longest latency, and longest jitter, milliseconds.
const LONGEST: u32 = 30_000;
/// Packets on their way at a time: the kernel's default, and the most that can be.
const LIMIT: u32 = 1000;
const LIMIT_MAX: u32 = 65_536;
/// Of a million, in a percent.
const PERCENT: u32 = 10_000;

impl Reader<'_> {
    pub(super) fn impairment(&mut self) -> Option<Impairment> {
        let of = annotations::kube_ovn;
        let latency = self.number(of, "latency", "milliseconds", LONGEST);
        let jitter = self.number(of, "jitter", "milliseconds", LONGEST);
        let limit = self.number(of, "limit", "packets", LIMIT_MAX);
        let loss = self.loss();
        let impairment = Impairment {
            latency_ms: latency.unwrap_or(0),
            jitter_ms: jitter.unwrap_or(0),
            loss_ppm: loss.unwrap_or(0),
            limit: limit.unwrap_or(LIMIT),
        };
        let has_effect = latency.or(jitter).or(loss).is_some();
        if !has_effect
            && limit.is_some()
            && let Some(found) = of(self.meta, "limit")
        {
            self.problems.push(Problem::ignored(
                self.object.clone(),
                found.field(),
                "a limit of packets that are late has no effect where none is late",
                "add latency, jitter or loss, or remove the limit",
            ));
        }
        has_effect.then_some(impairment)
    }

    /// Percent with up to four decimals; 0 is none.
    fn loss(&mut self) -> Option<u32> {
        let annotation = annotations::kube_ovn(self.meta, "loss")?;
        match percent(annotation.value) {
            Some(0) => None,
            Some(ppm) => Some(ppm),
            None => {
                let what = format!(
                    "{:?} is not a percentage between 0 and 100 with at most four decimals: no \
                     packet is lost",
                    annotation.value
                );
                self.refuse(annotation, what, "write it like \"10\" or \"0.5\"");
                None
            }
        }
    }
}

/// A percentage as parts of a million.
fn percent(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 4 {
        return None;
    }
    let whole: u32 = whole.parse().ok().filter(|whole| *whole <= 100)?;
    let decimals: u32 = format!("{decimals:0<4}").parse().ok()?;
    let ppm = whole * PERCENT + decimals;
    (ppm <= 100 * PERCENT).then_some(ppm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Kind, NamespacedName, ObjectRef};
    use crate::view::Meta;

    fn read(pairs: &[(&str, &str)]) -> (Option<Impairment>, Vec<String>) {
        let annotations = pairs
            .iter()
            .map(|(k, v)| (format!("ovn.kubernetes.io/{k}"), v.to_string()));
        let meta = Meta {
            annotations: annotations.collect(),
            ..Meta::default()
        };
        let pod = ObjectRef::namespaced(Kind::Pod, &NamespacedName::new("bank", "web-1"));
        let mut problems = Vec::new();
        let qos = super::super::read(&pod, &meta, &mut problems);
        let problems = problems.iter().map(|p| p.to_string()).collect();
        (qos.impairment, problems)
    }

    #[test]
    fn kube_ovns_own_values_are_taken() {
        let (impairment, problems) = read(&[
            ("latency", "600"),
            ("jitter", "400"),
            ("limit", "2000"),
            ("loss", "10"),
        ]);
        let expected = Impairment {
            latency_ms: 600,
            jitter_ms: 400,
            loss_ppm: 100_000,
            limit: 2000,
        };
        assert_eq!((impairment, problems), (Some(expected), vec![]));
        let (impairment, _) = read(&[("loss", "0.0005")]);
        let impairment = impairment.unwrap();
        assert_eq!((impairment.loss_ppm, impairment.limit), (5, 1000));
        assert_eq!(read(&[("loss", "100")]).0.unwrap().loss_ppm, 1_000_000);
        assert_eq!(read(&[("latency", "0"), ("loss", "0")]), (None, vec![]));
    }

    #[test]
    fn what_cannot_be_is_reported_and_the_rest_holds() {
        for (name, value) in [
            ("latency", "-1"),
            ("latency", "10ms"),
            ("latency", "30001"),
            ("jitter", "-5"),
            ("limit", "65537"),
            ("loss", "-1"),
            ("loss", "100.1"),
            ("loss", "10%"),
            ("loss", "0.00001"),
            ("loss", "."),
        ] {
            let other = if name == "loss" { "latency" } else { "loss" };
            let (impairment, problems) = read(&[(name, value), (other, "5")]);
            assert!(impairment.is_some(), "{name}={value}");
            assert_eq!(problems.len(), 1, "{name}={value}");
            assert!(problems[0].contains(name) && problems[0].contains(value));
        }
        let (impairment, problems) = read(&[("limit", "10")]);
        assert_eq!(impairment, None);
        assert!(problems[0].contains("limit"), "{problems:?}");
    }
}
